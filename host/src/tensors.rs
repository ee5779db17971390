//! What goes into a run and what comes out: borrowed [`Inputs`], owned [`Tensors`], [`Outputs`].
//!
//! | tensor | shape | meaning |
//! |---|---|---|
//! | `input` | (B, Cin, D, H, W) | x |
//! | `kernel` | (Cin, Cout / groups, Kd, Kh, Kw) | w |
//! | `conv_bias` | (Cout) | added to the convolution; 0 where not given |
//! | `bn_weight`, `bn_bias` | (Cout) | γ and β; 1 and 0 where not given |
//! | `running_mean`, `running_var` | (Cout) | both or neither |
//! | `output` | (B, Cout, 1, 1, 1) | the result |
//!
//! `input`, `kernel`, `conv_bias` and `output` are of one type `T` (`f16`, `bf16`, `f32`, `f64`), the others of `T::Wide`: `f64`
//! for `f64`, else `f32`.

use ndarray::{Array1, Array5, ArrayView1, ArrayView3, ArrayView4, ArrayView5, Axis, CowArray, Ix1, Ix5};

use crate::Error;
use crate::element::{DType, Element, Storage};
use crate::memory;
use crate::problem::{KernelShape, Problem, Shape5};

/// How far a long computation is: called with the steps done and the steps in all.
///
/// Calls come from several threads; counts may arrive slightly out of order.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// The tensors of one call, borrowed. Any strides are fine.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, T: Storage> {
    /// (B, Cin, D, H, W).
    pub input: ArrayView5<'a, T>,
    /// (Cin, Cout / groups, Kd, Kh, Kw).
    pub kernel: ArrayView5<'a, T>,
    /// (Cout); 0 where not given.
    pub conv_bias: Option<ArrayView1<'a, T>>,
    /// γ (Cout); 1 where not given.
    pub bn_weight: Option<ArrayView1<'a, T::Wide>>,
    /// β (Cout); 0 where not given.
    pub bn_bias: Option<ArrayView1<'a, T::Wide>>,
    /// (Cout); together with `running_var`.
    pub running_mean: Option<ArrayView1<'a, T::Wide>>,
    /// (Cout), none below 0; together with `running_mean`.
    pub running_var: Option<ArrayView1<'a, T::Wide>>,
}

/// The tensors of one call, owned.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors<T: Storage> {
    /// (B, Cin, D, H, W).
    pub input: Array5<T>,
    /// (Cin, Cout / groups, Kd, Kh, Kw).
    pub kernel: Array5<T>,
    /// (Cout).
    pub conv_bias: Option<Array1<T>>,
    /// γ (Cout).
    pub bn_weight: Option<Array1<T::Wide>>,
    /// β (Cout).
    pub bn_bias: Option<Array1<T::Wide>>,
    /// (Cout).
    pub running_mean: Option<Array1<T::Wide>>,
    /// (Cout).
    pub running_var: Option<Array1<T::Wide>>,
}

/// What a run yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs<T: Storage> {
    /// (B, Cout, 1, 1, 1).
    pub output: Array5<T>,
    /// Mean of the scaled convolution over batch and positions; none in eval mode with running statistics.
    pub batch_mean: Option<Array1<f64>>,
    /// Its biased variance; present where `batch_mean` is.
    pub batch_var: Option<Array1<f64>>,
    /// Updated in training, as given in eval; none where none was given.
    pub running_mean: Option<Array1<f64>>,
    /// Likewise, updated with the *unbiased* variance of the batch.
    pub running_var: Option<Array1<f64>>,
}

/// What batch normalisation keeps from batch to batch: PyTorch's buffers. [`Plan::run_updating`](crate::Plan::run_updating)
/// moves them.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningStatistics<W: Element> {
    /// (Cout).
    pub mean: Array1<W>,
    /// (Cout), none below 0.
    pub var: Array1<W>,
    /// Batches in training so far.
    pub num_batches_tracked: u64,
}

impl<W: Element> RunningStatistics<W> {
    /// As a module begins: means of 0, variances of 1, no batches.
    pub fn new(out_channels: usize) -> Self {
        let one = Array1::from_elem(out_channels, W::from_f64(1.0));
        Self { mean: Array1::default(out_channels), var: one, num_batches_tracked: 0 }
    }
}

/// Why tensors do not fit their problem.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// `input` or `kernel` of another shape than the problem's.
    #[error("{tensor} has shape {found:?}; the problem's is {expected:?}")]
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// Its shape.
        found: [usize; 5],
        /// The problem's.
        expected: [usize; 5],
    },
    /// A per-channel tensor of the wrong length.
    #[error("{tensor} has {found} elements; it must have one for each of the {expected} output channels")]
    Length {
        /// The tensor.
        tensor: &'static str,
        /// Its length.
        found: usize,
        /// Cout.
        expected: usize,
    },
    /// One running statistic without the other.
    #[error("{given} is given without {missing}; running statistics come as a pair")]
    UnpairedStatistic {
        /// The one that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The problem was built for running statistics, or without, and the tensors disagree.
    #[error(
        "running statistics are {}given, and the problem was built {}them",
        if *given { "" } else { "not " },
        if *given { "without " } else { "with " }
    )]
    RunningStatistics {
        /// Whether the tensors hold them.
        given: bool,
    },
    /// No address where one is needed.
    #[error("{tensor} is a null pointer; it must be given")]
    Null {
        /// The tensor.
        tensor: &'static str,
    },
    /// An address between two elements' places.
    #[error("{tensor} is at {address:#x}; it must be at a multiple of {element}")]
    Misaligned {
        /// The tensor.
        tensor: &'static str,
        /// Where it is said to be.
        address: u64,
        /// Bytes of an element.
        element: u64,
    },
    /// An address that is none of the device's: plain host memory above all.
    #[error("{tensor} is at {address:#x}, which the device cannot reach; it must be in device memory")]
    Unreachable {
        /// The tensor.
        tensor: &'static str,
        /// Where it is said to be.
        address: u64,
    },
    /// A variance below zero.
    #[error("running_var[{index}] is {value}; a variance must be at least 0")]
    NegativeVariance {
        /// The channel.
        index: usize,
        /// Its value.
        value: f64,
    },
}

impl<'a, T: Storage> Inputs<'a, T> {
    /// Input and kernel alone; add the rest by struct update:
    /// `Inputs { bn_weight: Some(γ), ..Inputs::new(x, w) }`.
    pub fn new(input: ArrayView5<'a, T>, kernel: ArrayView5<'a, T>) -> Inputs<'a, T> {
        Inputs { input, kernel, conv_bias: None, bn_weight: None, bn_bias: None, running_mean: None, running_var: None }
    }

    /// Images, (B, Cin, H, W), and a kernel for them, (Cin, Cout / groups, Kh, Kw): the flat case of
    /// [`Problem::builder_2d`].
    pub fn images(input: ArrayView4<'a, T>, kernel: ArrayView4<'a, T>) -> Inputs<'a, T> {
        Inputs::new(input.insert_axis(Axis(2)), kernel.insert_axis(Axis(2)))
    }

    /// Lines, (B, Cin, W), and a kernel for them, (Cin, Cout / groups, Kw): the flat case of [`Problem::builder_1d`].
    pub fn lines(input: ArrayView3<'a, T>, kernel: ArrayView3<'a, T>) -> Inputs<'a, T> {
        Inputs::images(input.insert_axis(Axis(2)), kernel.insert_axis(Axis(2)))
    }

    /// The input's shape.
    pub fn input_shape(&self) -> Shape5 {
        let (batch, channels, depth, height, width) = self.input.dim();
        Shape5 { batch, channels, depth, height, width }
    }

    /// The kernel's shape.
    pub fn kernel_shape(&self) -> KernelShape {
        let (in_channels, out_channels, depth, height, width) = self.kernel.dim();
        KernelShape { in_channels, out_channels, depth, height, width }
    }

    /// Whether these tensors are what `problem` speaks of. NaN and infinity are fine anywhere.
    ///
    /// # Errors
    /// The first tensor that is not, by name.
    pub fn check(&self, problem: &Problem) -> Result<(), InputError> {
        check_shape("input", self.input_shape().extents(), problem.input().extents())?;
        check_shape("kernel", self.kernel_shape().extents(), problem.kernel().extents())?;
        let expected = problem.out_channels();
        for (tensor, found) in self.per_channel().map(|(tensor, found)| (tensor, found.unwrap_or(expected))) {
            if found != expected {
                return Err(InputError::Length { tensor, found, expected });
            }
        }
        check_running_statistics(problem, self.running_mean.is_some(), self.running_var.is_some())?;
        let variances = self.running_var.into_iter().flatten().map(|v| v.to_f64());
        match variances.enumerate().find(|&(_, value)| value < 0.0) {
            Some((index, value)) => Err(InputError::NegativeVariance { index, value }),
            None => Ok(()),
        }
    }

    /// A copy in `f64`; exact.
    ///
    /// # Errors
    /// [`Error::Memory`] where it does not fit.
    pub fn to_f64(&self) -> Result<Tensors<f64>, Error> {
        Ok(Tensors {
            input: widen5("input in f64", self.input)?,
            kernel: widen5("kernel in f64", self.kernel)?,
            conv_bias: self.conv_bias.map(widen1),
            bn_weight: self.bn_weight.map(widen1),
            bn_bias: self.bn_bias.map(widen1),
            running_mean: self.running_mean.map(widen1),
            running_var: self.running_var.map(widen1),
        })
    }

    /// The same tensors in the format that they are computed in: copied where they are of 16 bits.
    ///
    /// # Errors
    /// [`Error::Memory`] where they do not fit.
    pub(crate) fn widened(&self) -> Result<Widened<'a, T::Wide>, Error> {
        Ok(Widened {
            input: T::widened("input in f32", self.input)?,
            kernel: T::widened("kernel in f32", self.kernel)?,
            conv_bias: self.conv_bias.map(|bias| T::widened("conv_bias in f32", bias)).transpose()?,
            bn_weight: self.bn_weight,
            bn_bias: self.bn_bias,
            running_mean: self.running_mean,
            running_var: self.running_var,
        })
    }

    /// The lengths of the tensors that have one value an output channel.
    fn per_channel(&self) -> [(&'static str, Option<usize>); 5] {
        [
            ("conv_bias", self.conv_bias.map(|values| values.len())),
            ("bn_weight", self.bn_weight.map(|values| values.len())),
            ("bn_bias", self.bn_bias.map(|values| values.len())),
            ("running_mean", self.running_mean.map(|values| values.len())),
            ("running_var", self.running_var.map(|values| values.len())),
        ]
    }
}

/// Inputs in the format that they are computed in.
pub(crate) struct Widened<'a, W: Element> {
    input: CowArray<'a, W, Ix5>,
    kernel: CowArray<'a, W, Ix5>,
    conv_bias: Option<CowArray<'a, W, Ix1>>,
    bn_weight: Option<ArrayView1<'a, W>>,
    bn_bias: Option<ArrayView1<'a, W>>,
    running_mean: Option<ArrayView1<'a, W>>,
    running_var: Option<ArrayView1<'a, W>>,
}

impl<W: Element> Widened<'_, W> {
    /// Views of all of them.
    pub fn as_inputs(&self) -> Inputs<'_, W> {
        Inputs {
            input: self.input.view(),
            kernel: self.kernel.view(),
            conv_bias: self.conv_bias.as_ref().map(|bias| bias.view()),
            bn_weight: self.bn_weight,
            bn_bias: self.bn_bias,
            running_mean: self.running_mean,
            running_var: self.running_var,
        }
    }
}

/// Bytes of the copies that [`Inputs::widened`] makes.
pub(crate) fn widened_bytes(problem: &Problem, dtype: DType) -> u64 {
    match dtype {
        DType::F16 | DType::BF16 => {
            let elements = problem.input_elements() as u64 + problem.kernel_elements() as u64;
            elements.saturating_mul(DType::F32.bytes() as u64)
        }
        DType::F32 | DType::F64 => 0,
    }
}

impl<T: Storage> Tensors<T> {
    /// Views of all of them.
    pub fn as_inputs(&self) -> Inputs<'_, T> {
        Inputs {
            input: self.input.view(),
            kernel: self.kernel.view(),
            conv_bias: self.conv_bias.as_ref().map(|v| v.view()),
            bn_weight: self.bn_weight.as_ref().map(|v| v.view()),
            bn_bias: self.bn_bias.as_ref().map(|v| v.view()),
            running_mean: self.running_mean.as_ref().map(|v| v.view()),
            running_var: self.running_var.as_ref().map(|v| v.view()),
        }
    }
}

impl<T: Storage> Outputs<T> {
    /// The output in `f64`; exact.
    pub fn to_f64(self) -> Outputs<f64> {
        self.map(T::to_f64)
    }

    fn map<U: Storage>(self, convert: impl Fn(T) -> U) -> Outputs<U> {
        Outputs {
            output: self.output.mapv(convert),
            batch_mean: self.batch_mean,
            batch_var: self.batch_var,
            running_mean: self.running_mean,
            running_var: self.running_var,
        }
    }
}

impl Outputs<f64> {
    /// The output rounded to `T`; statistics stay in `f64`.
    pub fn rounded<T: Storage>(self) -> Outputs<T> {
        self.map(T::from_f64)
    }
}

/// Refuses one running statistic without the other, and both where the problem was built without, or neither where with them.
pub(crate) fn check_running_statistics(problem: &Problem, mean: bool, var: bool) -> Result<(), InputError> {
    match (mean, var) {
        (true, false) => Err(InputError::UnpairedStatistic { given: "running_mean", missing: "running_var" }),
        (false, true) => Err(InputError::UnpairedStatistic { given: "running_var", missing: "running_mean" }),
        (given, _) if given != problem.has_running_statistics() => Err(InputError::RunningStatistics { given }),
        _ => Ok(()),
    }
}

fn check_shape(tensor: &'static str, found: [usize; 5], expected: [usize; 5]) -> Result<(), InputError> {
    if found == expected { Ok(()) } else { Err(InputError::Shape { tensor, found, expected }) }
}

/// Per-channel vectors are small beside the tensors, which were allocated by the caller.
pub(crate) fn widen1<T: Storage>(values: ArrayView1<'_, T>) -> Array1<f64> {
    values.mapv(T::to_f64)
}

fn widen5<T: Storage>(what: &'static str, values: ArrayView5<'_, T>) -> Result<Array5<f64>, Error> {
    let mut wide = memory::try_with_capacity(what, values.len())?;
    wide.extend(values.iter().map(|v| v.to_f64()));
    Ok(memory::in_shape(values.raw_dim(), wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn problem(running: bool) -> Problem {
        let inputs = tensors();
        let (x, w) = (inputs.as_inputs().input_shape(), inputs.as_inputs().kernel_shape());
        Problem::builder(x, w).running_statistics(running).build().unwrap()
    }

    fn tensors() -> Tensors<f32> {
        Tensors {
            input: Array5::zeros((2, 1, 2, 1, 3)),
            kernel: Array5::zeros((1, 2, 1, 1, 2)),
            conv_bias: None,
            bn_weight: None,
            bn_bias: None,
            running_mean: None,
            running_var: None,
        }
    }

    fn refused(tensors: &Tensors<f32>, running: bool) -> InputError {
        tensors.as_inputs().check(&problem(running)).expect_err("these tensors must be refused")
    }

    #[test]
    fn what_fits_is_accepted() {
        tensors().as_inputs().check(&problem(false)).unwrap();
        let nan = Tensors {
            input: Array5::from_elem((2, 1, 2, 1, 3), f32::NAN),
            running_mean: Some(array![0.0, f32::INFINITY]),
            running_var: Some(array![0.0, f32::NAN]),
            ..tensors()
        };
        nan.as_inputs().check(&problem(true)).unwrap();
    }

    #[test]
    fn shapes_and_lengths() {
        let other = Tensors { input: Array5::zeros((2, 1, 2, 3, 1)), ..tensors() };
        let expected = InputError::Shape { tensor: "input", found: [2, 1, 2, 3, 1], expected: [2, 1, 2, 1, 3] };
        assert_eq!(refused(&other, false), expected);
        let other = Tensors { kernel: Array5::zeros((1, 3, 1, 1, 2)), ..tensors() };
        assert!(matches!(refused(&other, false), InputError::Shape { tensor: "kernel", .. }));

        let three = || Some(array![0.0, 0.0, 0.0]);
        let wrong = |tensor| InputError::Length { tensor, found: 3, expected: 2 };
        assert_eq!(refused(&Tensors { conv_bias: three(), ..tensors() }, false), wrong("conv_bias"));
        assert_eq!(refused(&Tensors { bn_weight: three(), ..tensors() }, false), wrong("bn_weight"));
        assert_eq!(refused(&Tensors { bn_bias: three(), ..tensors() }, false), wrong("bn_bias"));
        assert_eq!(refused(&Tensors { running_mean: three(), ..tensors() }, true), wrong("running_mean"));
        assert_eq!(refused(&Tensors { running_var: three(), ..tensors() }, true), wrong("running_var"));
    }

    #[test]
    fn running_statistics() {
        let two = || Some(array![0.0, 1.0]);
        let mean = Tensors { running_mean: two(), ..tensors() };
        let expected = InputError::UnpairedStatistic { given: "running_mean", missing: "running_var" };
        assert_eq!(refused(&mean, true), expected);
        let var = Tensors { running_var: two(), ..tensors() };
        let expected = InputError::UnpairedStatistic { given: "running_var", missing: "running_mean" };
        assert_eq!(refused(&var, true), expected);
        let both = Tensors { running_mean: two(), running_var: two(), ..tensors() };
        both.as_inputs().check(&problem(true)).unwrap();
        assert_eq!(refused(&both, false), InputError::RunningStatistics { given: true });
        assert_eq!(refused(&tensors(), true), InputError::RunningStatistics { given: false });
        let text = refused(&tensors(), true).to_string();
        assert_eq!(text, "running statistics are not given, and the problem was built with them");
        let negative = Tensors { running_var: Some(array![0.5, -0.25]), ..both };
        assert_eq!(refused(&negative, true), InputError::NegativeVariance { index: 1, value: -0.25 });
    }

    #[test]
    fn flat_cases_are_volumes_of_extent_one() {
        use ndarray::{Array3, Array4};
        let (x, w) = (Array4::<f32>::zeros((2, 6, 4, 5)), Array4::<f32>::zeros((6, 2, 3, 1)));
        let images = Inputs::images(x.view(), w.view());
        let problem = Problem::builder_2d([2, 6, 4, 5], [6, 2, 3, 1]).groups(3).stride([2, 1]).build().unwrap();
        images.check(&problem).unwrap();
        let (x, w) = (Array3::<f32>::zeros((2, 6, 5)), Array3::<f32>::zeros((6, 2, 3)));
        let problem = Problem::builder_1d([2, 6, 5], [6, 2, 3]).groups(3).padding([1]).build().unwrap();
        Inputs::lines(x.view(), w.view()).check(&problem).unwrap();
    }

    #[test]
    fn widening_keeps_order_whatever_the_strides() {
        let mut tensors = tensors();
        for (i, value) in tensors.input.iter_mut().enumerate() {
            *value = i as f32;
        }
        let swapped = tensors.input.view().permuted_axes([4, 1, 2, 3, 0]);
        let wide = Inputs::new(swapped, tensors.kernel.view()).to_f64().unwrap();
        assert_eq!(wide.input.dim(), (3, 1, 2, 1, 2));
        assert_eq!(wide.input[[2, 0, 1, 0, 1]], 11.0);
    }
}
