//! The mean of the convolution over its positions, without the convolution.
//!
//! ```text
//! mean[b,c] = 1/P · Σ_ci Σ_k w[ci,c,k] · S[ci, box of k, b]            all in f64; taps that carry nothing are left out
//! ```
//!
//! S: [`input_boxes`](crate::input_boxes). What the output needs is m − μ, perhaps 1e-4 of m: so it is not taken from rounded z.
//!
//! A block makes eight images of an output channel: thread t the products (ci, k) numbered t, t + 256, … in order; then the lanes as a
//! tree, then the warps in order.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::input_boxes::InputBoxes;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConvMeans {
    /// w (Cin, Cout/groups, Kd, Kh, Kw).
    pub kernel: Tensor<f32>,
    /// S, (ci, box, b).
    pub sum: Global<f64>,
    /// Out: the mean of z a (b, c), unscaled.
    pub mean: GlobalMut<f64>,
    /// The convolution's boxes.
    pub boxes: InputBoxes,
}

/// Images of a block.
const IMAGES: u32 = 8;
/// Warps of a block.
const WARPS: u32 = 8;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "conv_means", threads: 32 * WARPS, min_blocks: 3, shared_bytes: 8 * WARPS * IMAGES };

impl ConvMeans {
    /// Runs of eight images.
    #[inline(always)]
    const fn runs(&self) -> u32 {
        self.boxes.shape.batch.div_ceil(IMAGES)
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.boxes.shape.out_channels as u64 * self.runs() as u64
    }
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::phased_conv::split;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 3)]
    pub unsafe fn conv_means(p: ConvMeans) {
        let (shape, all, warp) = (&p.boxes.shape, Shared::<f64>::dynamic(0), warp_index());
        let mut unit = block_idx_x() as u64;
        while unit < p.blocks() {
            let (c, run) = div_rem(unit, p.runs() as u64);
            let first = run as u32 * IMAGES;
            // SAFETY: c < Cout, first < B.
            let mut sums = unsafe {
                match p.boxes.is_whole() {
                    true => sums::<Whole>(&p, c as u32, first),
                    false => sums::<Boxes>(&p, c as u32, first),
                }
            };
            unroll!(i < 8, {
                unroll!(level < 5, {
                    sums[i] += shuffle_xor(sums[i], 16 >> level);
                });
                if lane_index() == 0 {
                    // SAFETY: one element a (warp, image); the last unit's are read.
                    unsafe { all.store(warp * IMAGES + i as u32, sums[i]) };
                }
            });
            sync_threads();
            let b = first + thread_idx_x();
            if thread_idx_x() < IMAGES && b < shape.batch {
                let mut sum = 0f64;
                unroll!(i < 8, {
                    // SAFETY: written before the barrier.
                    sum += unsafe { all.load(i as u32 * IMAGES + thread_idx_x()) };
                });
                // SAFETY: (b, c) exists and has one writer.
                unsafe {
                    p.mean.store(b as u64 * shape.out_channels as u64 + c, sum / p.boxes.options.positions() as f64)
                };
            }
            sync_threads();
            unit += grid_dim_x() as u64;
        }
    }

    /// Which box a tap has.
    trait Taps {
        /// The box, `None` for a tap that carries nothing.
        fn of(boxes: &InputBoxes, tap: u32) -> Option<u32>;
    }
    /// All taps carry all of the input.
    struct Whole;
    /// Each tap has its own.
    struct Boxes;
    impl Taps for Whole {
        #[inline(always)]
        fn of(_: &InputBoxes, _: u32) -> Option<u32> {
            Some(0)
        }
    }
    impl Taps for Boxes {
        #[inline(always)]
        fn of(boxes: &InputBoxes, tap: u32) -> Option<u32> {
            let (line, k2) = split(tap, boxes.shape.kernel[2]);
            let (k0, k1) = split(line, boxes.shape.kernel[1]);
            let k = [k0, k1, k2];
            if boxes.options.carries(k, boxes.shape.input) { Some(boxes.box_of(k)) } else { None }
        }
    }

    /// This thread's part of the sums of eight images from `first` on, those past the last as the last.
    ///
    /// # Safety
    /// c < Cout, first < B.
    #[inline(always)]
    unsafe fn sums<T: Taps>(p: &ConvMeans, c: u32, first: u32) -> [f64; IMAGES as usize] {
        let (boxes, shape) = (&p.boxes, &p.boxes.shape);
        let groups = boxes.options.groups;
        let (ins, outs) = (split(shape.in_channels, groups).0, split(shape.out_channels, groups).0);
        let (group, column) = split(c, outs);
        let taps = shape.taps();
        let w = p.kernel.offset(column as u64 * taps as u64);
        let mut sums = [0f64; IMAGES as usize];
        let mut at = thread_idx_x();
        while at < ins * taps {
            let (ci, tap) = split(at, taps);
            let ci = (group * ins + ci) as u64;
            if let Some(number) = T::of(boxes, tap) {
                // SAFETY: a tap of (ci, c); the sums of (ci, box) of all images.
                unsafe {
                    let tap = w.load(ci * outs as u64 * taps as u64 + tap as u64) as f64;
                    let of = p.sum.offset((ci * boxes.boxes() as u64 + number as u64) * shape.batch as u64);
                    unroll!(i < 8, {
                        let b = first + i as u32;
                        let b = if b < shape.batch { b } else { shape.batch - 1 };
                        sums[i] = tap.fma(of.load(b as u64), sums[i]);
                    });
                }
            }
            at += SPEC.threads;
        }
        sums
    }
}
