//! Transposed 3-D convolution, scale, batch normalisation and global average pooling as one operation.
//!
//! ```text
//! z[b,c,p] = conv_bias[c] + Σ_ci Σ_k w[ci,c,k]·x[b,ci,i]          over i·stride + k·dilation − padding = p, ci in c's group
//! out[b,c] = mean_p( γ[c]·(s·z − μ[c])/√(σ²[c] + ε) + β[c] )       μ, σ²: mean and variance of s·z
//! ```
//! PyTorch's `ConvTranspose3d` → `· scale_factor` → `BatchNorm3d` → `AdaptiveAvgPool3d(1)`, with its names,
//! defaults and rules, but z is never stored. Tensors are `f16`, `bf16`, `f32` or `f64` ([`element`]). The 2-D and 1-D modules are the flat cases
//! ([`Problem::builder_2d`], [`Problem::builder_1d`]).
//!
//! ```
//! use convt_bn_gap::{Device, Inputs, Plan, PlanOptions, Problem};
//! use ndarray::{Array5, array};
//!
//! let input = Array5::from_shape_fn((2, 1, 2, 2, 2), |(b, _, d, h, w)| (b * 3 + d + h * w) as f32);
//! let kernel = Array5::<f32>::ones((1, 1, 2, 2, 2));
//! let bn_bias = array![0.5];
//! let inputs = Inputs { bn_bias: Some(bn_bias.view()), ..Inputs::new(input.view(), kernel.view()) };
//!
//! let problem = Problem::builder(inputs.input_shape(), inputs.kernel_shape()).scale_factor(2.0).build()?;
//! let mut plan = Plan::new(&problem, &Device::cpu(), PlanOptions::default())?;
//! let result = plan.run(&inputs)?;
//!
//! // Training mode: the samples lie on either side of β.
//! assert_eq!(result.output.dim(), (2, 1, 1, 1, 1));
//! assert!(result.output[[0, 0, 0, 0, 0]] < 0.5 && result.output[[1, 0, 0, 0, 0]] > 0.5);
//! # Ok::<(), convt_bn_gap::Error>(())
//! ```
//!
//! A [`Problem`] is checked once, a [`Device`] chosen, a [`Plan`] made and run any number of times.
//! [`mod@reference`] is the definition that all else is compared with, by the rule in [`check`].
//! Nothing that a caller passes panics or aborts: every refusal is an [`Error`] with the numbers in it.

mod addresses;
mod batch_norm;
pub mod capi;
pub mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod draw;
pub mod element;
mod error;
pub mod memory;
pub mod plan;
pub mod preset;
mod problem;
pub mod reference;
mod tensors;

pub use cpu::Watch;
pub use element::{DType, Element, Storage};
pub use error::{Error, Unavailable};
pub use half::{bf16, f16};
pub use plan::{Algorithm, AlgorithmChoice, Backend, Device, Plan, PlanOptions, Precision, Recipe};
pub use problem::{Convolution, KernelShape, Mode, Momentum, Problem, ProblemBuilder, ProblemError, Shape5};
pub use tensors::{InputError, Inputs, Outputs, Progress, RunningStatistics, Tensors};
