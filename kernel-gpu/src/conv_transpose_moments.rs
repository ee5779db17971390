//! The direct way: transposed convolution and scale, whose result is reduced to moments and never stored.
//!
//! ```text
//! z[b,c,p] = s · Σ_ci Σ_k w[ci,c,k] · x[b,ci,p−k]           p over the P output positions; the bias is left to pool_finish
//! mean[b,c,i], M2[b,c,i] = mean of z, Σ(z − mean)²           over slice i of the positions
//! ```
//!
//! **Tiling.** A matrix product Z = W·X over k = (ci, kd, kh, kw), see [`tile`](crate::tile): X is gathered from the input
//! as it is needed (0 outside), so that any shape works and nothing is unrolled in memory
//! ([`conv_transpose_gather`](crate::conv_transpose_gather)). [`conv_transpose_tile`](crate::conv_transpose_tile) multiplies, and reduces what comes of it.
//!
//! **Options.** The forms above know stride 1, no padding, dilation 1 and one group. Each has a twin that takes [`ConvOptions`]:
//!
//! ```text
//! z[b,c,p] = s · Σ_ci Σ_k w[ci,c,k] · x[b, ci, (p + padding − k·dilation)/stride]      where that is an element; ci of the group of c
//! ```
//!
//! It divides for every x that it gathers, and where the stride is not 1 multiplies the zeros between elements too.
//!
//! **Accumulation.** z in `A` (f32, or f64 for the strict and f64 forms), in the order of k. The mean is *not* the mean of
//! these z: it is `Σ_k w[k]·Σ_p x[p−k]`, summed in f64 beside the product (about 7 % more work), since what the output
//! needs is mean − μ, on common data 1e-4 of the mean. M2 is taken about that mean: nothing cancels.
//!
//! **Cost.** 2·B·Cout·P·Cin·taps flop. Each block reads its share of w (4·Cin·taps·channels bytes, mostly from L2) and the
//! input once a tap (mostly from L1). Writes 16 bytes a (b, c, slice).
//!
//! **Launch.** One dimension, any number of blocks (items are dealt round robin), [`KernelSpec::threads`] threads,
//! [`KernelSpec::shared_bytes`] of shared memory.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;

use crate::conv_shape::{ConvOptions, ConvShape};
use crate::element::Tensor;
use crate::tile::Tile;
use crate::work::Work;

/// The parameters: `input` (B, Cin, D, H, W) and `kernel` (Cin, Cout/groups, Kd, Kh, Kw), C order; `mean` and `m2`
/// (B, Cout, slices). `shape` and `work` agree with the tile of the kernel they are given to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConvTransposeMoments<T> {
    /// x.
    pub input: Tensor<T>,
    /// w; narrow if x is.
    pub kernel: Tensor<T>,
    /// Out: the mean of z a (b, c, slice).
    pub mean: GlobalMut<f64>,
    /// Out: Σ(z − mean)² a (b, c, slice).
    pub m2: GlobalMut<f64>,
    /// s.
    pub scale: f64,
    /// The convolution's extents.
    pub shape: ConvShape,
    /// Its division among blocks; the tiles of channels are those of all groups.
    pub work: Work,
    /// What the forms with options take beside.
    pub options: ConvOptions,
}

/// f32 accumulation, Cout above 32: 128 channels a block.
pub const F32_WIDE: Tile = Tile { channel_micro: 8, channel_threads: 16, bytes: 4 };
/// f32 accumulation, Cout of at most 32.
pub const F32_NARROW: Tile = Tile { channel_micro: 4, channel_threads: 8, bytes: 4 };
/// f64 accumulation, Cout above 16: 64 channels a block.
pub const F64_WIDE: Tile = Tile { channel_micro: 4, channel_threads: 16, bytes: 8 };
/// f64 accumulation, Cout of at most 16.
pub const F64_NARROW: Tile = Tile { channel_micro: 2, channel_threads: 8, bytes: 8 };
/// All tiles.
pub const TILES: [Tile; 4] = [F32_WIDE, F32_NARROW, F64_WIDE, F64_NARROW];

/// One compiled form of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Its tile.
    pub tile: Tile,
    /// Its launch.
    pub spec: KernelSpec,
    /// Whether it takes options.
    pub options: bool,
}

const fn form(name: &'static str, tile: Tile, min_blocks: u32) -> Form {
    let spec = KernelSpec { name, threads: tile.threads(), min_blocks, shared_bytes: tile.shared_bytes() };
    Form { tile, spec, options: false }
}

/// The twin of a form that takes options.
const fn with_options(form: Form, name: &'static str, min_blocks: u32) -> Form {
    Form { spec: KernelSpec { name, min_blocks, ..form.spec }, options: true, ..form }
}
/// f32 values, f32 accumulation.
pub const FORM_F32_WIDE: Form = form("conv_transpose_moments_f32_wide", F32_WIDE, 1);
/// f32 values, f32 accumulation, few output channels.
pub const FORM_F32_NARROW: Form = form("conv_transpose_moments_f32_narrow", F32_NARROW, 4);
/// f32 values, f64 accumulation.
pub const FORM_F32_STRICT_WIDE: Form = form("conv_transpose_moments_f32_strict_wide", F64_WIDE, 1);
/// f32 values, f64 accumulation, few output channels.
pub const FORM_F32_STRICT_NARROW: Form = form("conv_transpose_moments_f32_strict_narrow", F64_NARROW, 2);
/// f64 values, f64 accumulation.
pub const FORM_F64_WIDE: Form = form("conv_transpose_moments_f64_wide", F64_WIDE, 1);
/// f64 values, f64 accumulation, few output channels.
pub const FORM_F64_NARROW: Form = form("conv_transpose_moments_f64_narrow", F64_NARROW, 2);
/// The forms with options, in the same order.
const OPTION_FORMS: [Form; 6] = [
    with_options(FORM_F32_WIDE, "conv_transpose_moments_options_f32_wide", 1),
    with_options(FORM_F32_NARROW, "conv_transpose_moments_options_f32_narrow", 2),
    with_options(FORM_F32_STRICT_WIDE, "conv_transpose_moments_options_f32_strict_wide", 1),
    with_options(FORM_F32_STRICT_NARROW, "conv_transpose_moments_options_f32_strict_narrow", 2),
    with_options(FORM_F64_WIDE, "conv_transpose_moments_options_f64_wide", 1),
    with_options(FORM_F64_NARROW, "conv_transpose_moments_options_f64_narrow", 2),
];
/// All forms, those with options after the others in the same order.
pub const FORMS: [Form; 12] = [
    FORM_F32_WIDE,
    FORM_F32_NARROW,
    FORM_F32_STRICT_WIDE,
    FORM_F32_STRICT_NARROW,
    FORM_F64_WIDE,
    FORM_F64_NARROW,
    OPTION_FORMS[0],
    OPTION_FORMS[1],
    OPTION_FORMS[2],
    OPTION_FORMS[3],
    OPTION_FORMS[4],
    OPTION_FORMS[5],
];

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, thread_idx_x, warp_index};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::element::Value;
    use crate::moments::Moments;
    use crate::tile::{POSITIONS, STEP};

    macro_rules! form {
        ($name:ident, $value:ty, $accumulator:ty, $tile:ident, $options:literal, $max_threads:literal, $min_blocks:literal) => {
            /// See the module.
            ///
            /// # Safety
            /// `input` and `kernel` hold the shape's elements and are not written meanwhile; `mean` and `m2` hold
            /// B·Cout·slices elements that nobody else accesses; the launch is as the form's spec says.
            #[kernel(max_threads = $max_threads, min_blocks = $min_blocks)]
            pub unsafe fn $name(parameters: ConvTransposeMoments<$value>) {
                // SAFETY: the caller's promise.
                unsafe {
                    Block::<
                                                                                    $value,
                                                                                    $accumulator,
                                                                                    { $tile.channel_micro as usize },
                                                                                    { $tile.channel_threads },
                                                                                    $options,
                                                                                >::new(&parameters)
                                                                                .run()
                }
            }
        };
    }
    form!(conv_transpose_moments_f32_wide, f32, f32, F32_WIDE, false, 256, 1);
    form!(conv_transpose_moments_options_f32_wide, f32, f32, F32_WIDE, true, 256, 1);
    form!(conv_transpose_moments_f32_narrow, f32, f32, F32_NARROW, false, 128, 4);
    form!(conv_transpose_moments_options_f32_narrow, f32, f32, F32_NARROW, true, 128, 2);
    form!(conv_transpose_moments_f32_strict_wide, f32, f64, F64_WIDE, false, 256, 1);
    form!(conv_transpose_moments_options_f32_strict_wide, f32, f64, F64_WIDE, true, 256, 1);
    form!(conv_transpose_moments_f32_strict_narrow, f32, f64, F64_NARROW, false, 128, 2);
    form!(conv_transpose_moments_options_f32_strict_narrow, f32, f64, F64_NARROW, true, 128, 2);
    form!(conv_transpose_moments_f64_wide, f64, f64, F64_WIDE, false, 256, 1);
    form!(conv_transpose_moments_options_f64_wide, f64, f64, F64_WIDE, true, 256, 1);
    form!(conv_transpose_moments_f64_narrow, f64, f64, F64_NARROW, false, 128, 2);
    form!(conv_transpose_moments_options_f64_narrow, f64, f64, F64_NARROW, true, 128, 2);

    /// What a thread knows throughout: the parameters and its place in the tile.
    pub struct Block<'a, T, A, const MICRO: usize, const THREADS: u32, const OPTIONS: bool> {
        /// The parameters.
        pub parameters: &'a ConvTransposeMoments<T>,
        /// Shared memory: two stages of X (8 rows of positions) and W (8 rows of channels).
        pub stages: Shared<A>,
        /// Its number in the block.
        pub thread: u32,
        /// Its number in the warp.
        pub lane: u32,
        /// Its warp's number.
        pub warp: u32,
        /// Along the channels and along the positions.
        pub place: (u32, u32),
    }

    /// The image and the channels of a tile.
    #[derive(Clone, Copy)]
    pub struct Part {
        /// b.
        pub batch: u32,
        /// The group.
        pub group: u32,
        /// The first channel of the tile in its group.
        pub channel: u32,
    }

    impl<'a, T: Value, A: Float, const MICRO: usize, const THREADS: u32, const OPTIONS: bool>
        Block<'a, T, A, MICRO, THREADS, OPTIONS>
    {
        /// The form's tile.
        pub const TILE: Tile = Tile { channel_micro: MICRO as u32, channel_threads: THREADS, bytes: A::BYTES };
        /// Elements from X to W in a stage.
        pub const W: u32 = STEP * POSITIONS;
        /// Channels of the mean that a lane sums: every 32nd.
        pub const MEANS: usize = Self::TILE.channels().div_ceil(32) as usize;

        #[inline(always)]
        fn new(parameters: &'a ConvTransposeMoments<T>) -> Self {
            let (lane, warp) = (lane_index(), warp_index());
            let place = Self::TILE.place(warp, lane);
            Self { parameters, stages: Shared::dynamic(0), thread: thread_idx_x(), lane, warp, place }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            let (shape, work) = (&self.parameters.shape, &self.parameters.work);
            let positions = self.positions();
            let tiles = if OPTIONS {
                div_rem(work.channel_tiles as u64, self.groups() as u64).0 as u32
            } else {
                work.channel_tiles
            };
            let mut index = block_idx_x() as u64;
            while index < work.items() {
                let item = work.item(index);
                let (group, channel_tile) = if OPTIONS {
                    let (group, tile) = div_rem(item.channel_tile as u64, tiles as u64);
                    (group as u32, tile as u32)
                } else {
                    (0, item.channel_tile)
                };
                let part = Part { batch: item.batch, group, channel: channel_tile * Self::TILE.channels() };
                let (mut tile, end) = work.tiles(item.slice);
                // Thread c gathers the moments of channel c of the tile.
                let mut moments = Moments::EMPTY;
                while tile < end {
                    let first = tile * POSITIONS as u64;
                    let rest = positions - first;
                    let count = if rest < POSITIONS as u64 { rest as u32 } else { POSITIONS };
                    // SAFETY: the caller's promise; the tile lies in the item.
                    moments = moments.merge(unsafe { self.tile(part, first, count) });
                    tile += 1;
                }
                let channel = part.channel + self.thread;
                if self.thread < Self::TILE.channels() && channel < self.out_channels() {
                    let channel = part.group * self.out_channels() + channel;
                    let at =
                        (item.batch as u64 * shape.out_channels as u64 + channel as u64) * work.slices + item.slice;
                    let s = self.parameters.scale;
                    // SAFETY: at < B·Cout·slices; each (b, c, slice) belongs to one item.
                    unsafe {
                        self.parameters.mean.store(at, moments.mean * s);
                        self.parameters.m2.store(at, moments.m2 * s * s);
                    }
                }
                index += grid_dim_x() as u64;
            }
        }

        /// P.
        #[inline(always)]
        fn positions(&self) -> u64 {
            if OPTIONS { self.parameters.options.positions() } else { self.parameters.shape.positions() }
        }

        #[inline(always)]
        fn groups(&self) -> u32 {
            if OPTIONS { self.parameters.options.groups } else { 1 }
        }

        /// Input channels of a group.
        #[inline(always)]
        pub fn in_channels(&self) -> u32 {
            let all = self.parameters.shape.in_channels;
            if OPTIONS { div_rem(all as u64, self.groups() as u64).0 as u32 } else { all }
        }

        /// Output channels of a group.
        #[inline(always)]
        pub fn out_channels(&self) -> u32 {
            let all = self.parameters.shape.out_channels;
            if OPTIONS { div_rem(all as u64, self.groups() as u64).0 as u32 } else { all }
        }
    }
}
