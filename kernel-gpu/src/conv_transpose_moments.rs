//! The direct way: transposed convolution and scale, whose result is reduced to moments and never stored.
//!
//! ```text
//! z[b,c,p] = s · Σ_ci Σ_k w[ci,c,k] · x[b,ci,p−k]           p over the P output positions; the bias is left to pool_finish
//! mean[b,c,i], M2[b,c,i] = mean of z, Σ(z − mean)²           over slice i of the positions
//! ```
//!
//! **Tiling.** A matrix product Z = W·X over k = (ci, kd, kh, kw), see [`tile`](crate::tile): X is gathered from the input
//! as it is needed (0 outside), so that any shape works and nothing is unrolled in memory. Two stages in shared memory,
//! the next step's values in registers meanwhile: one barrier a step.
//!
//! **Options.** The forms above know stride 1, no padding, dilation 1 and one group. Each has a twin that takes [`ConvOptions`]:
//!
//! ```text
//! z[b,c,p] = s · Σ_ci Σ_k w[ci,c,k] · x[b, ci, (p + padding − k·dilation)/stride]      where that is an element; ci of the group of c
//! ```
//!
//! It divides for every x that it gathers, and where the stride is not 1 multiplies the zeros between elements too.
//!
//! **Elements.** f16 and bf16 stay as they are on their way through registers, and are widened on their way into shared memory.
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
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::{OutputPosition, div_rem};
    use crate::element::Value;
    use crate::moments::Moments;
    use crate::tap_cursor::TapCursor;
    use crate::tile::{POSITION_MICRO, POSITIONS, STEP};

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
    struct Block<'a, T, A, const MICRO: usize, const THREADS: u32, const OPTIONS: bool> {
        parameters: &'a ConvTransposeMoments<T>,
        /// Shared memory: two stages of X (8 rows of positions) and W (8 rows of channels).
        stages: Shared<A>,
        thread: u32,
        lane: u32,
        warp: u32,
        /// Along the channels and along the positions.
        place: (u32, u32),
    }

    /// The values of the next step on their way from global to shared memory (as many as the tile's loads say).
    struct InFlight<T: Value> {
        x: [T::Bits; 8],
        w: [T::Bits; 4],
    }

    impl<T: Value> InFlight<T> {
        #[inline(always)]
        fn none() -> Self {
            Self { x: [T::Bits::default(); 8], w: [T::Bits::default(); 4] }
        }
    }

    /// The image and the channels of a tile.
    #[derive(Clone, Copy)]
    struct Part {
        batch: u32,
        group: u32,
        /// The first channel of the tile in its group.
        channel: u32,
    }

    /// Where a thread reads next: its position and k of X, its k of W. With options a position is its coordinates and their
    /// padding alone.
    struct Gather {
        position: OutputPosition,
        cursor: TapCursor,
        channel: u32,
        tap: u32,
    }

    impl<'a, T: Value, A: Float, const MICRO: usize, const THREADS: u32, const OPTIONS: bool>
        Block<'a, T, A, MICRO, THREADS, OPTIONS>
    {
        const TILE: Tile = Tile { channel_micro: MICRO as u32, channel_threads: THREADS, bytes: A::BYTES };
        /// Elements from X to W in a stage.
        const W: u32 = STEP * POSITIONS;
        /// Channels of the mean that a lane sums: every 32nd.
        const MEANS: usize = Self::TILE.channels().div_ceil(32) as usize;

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
        fn in_channels(&self) -> u32 {
            let all = self.parameters.shape.in_channels;
            if OPTIONS { div_rem(all as u64, self.groups() as u64).0 as u32 } else { all }
        }

        /// Output channels of a group.
        #[inline(always)]
        fn out_channels(&self) -> u32 {
            let all = self.parameters.shape.out_channels;
            if OPTIONS { div_rem(all as u64, self.groups() as u64).0 as u32 } else { all }
        }

        /// The moments of unscaled z over `count` positions from `first`, of channel `part.channel + thread` of the group
        /// (meaningful in the first `TILE.channels()` threads).
        #[inline(always)]
        unsafe fn tile(&self, part: Part, first: u64, count: u32) -> Moments {
            let shape = &self.parameters.shape;
            let steps = (self.in_channels() as u64 * shape.taps() as u64).div_ceil(STEP as u64);
            let mut gather = self.gather(first);
            let mut z = [[A::default(); POSITION_MICRO as usize]; MICRO];
            let mut sums = [0f64; 4];

            sync_threads(); // the previous tile's epilogue has read its sums
            // SAFETY: `bring` checks every index; nobody reads the stage before the next barrier.
            unsafe { self.put(0, &self.bring(&mut gather, part)) };
            sync_threads();
            let mut step = 0;
            while step < steps {
                let stage = (step % 2) as u32;
                let more = step + 1 < steps;
                let mut next = InFlight::none();
                if more {
                    // SAFETY: `bring` checks every index.
                    next = unsafe { self.bring(&mut gather, part) };
                }
                // SAFETY: the stage was written before the last barrier.
                unsafe { self.multiply(stage, &mut z, &mut sums) };
                if more {
                    // SAFETY: this stage was last read a step ago, before the barrier that ended it.
                    unsafe { self.put(1 - stage, &next) };
                }
                sync_threads();
                step += 1;
            }
            // SAFETY: all reads of the stages are behind the last barrier.
            unsafe { self.epilogue(&z, &sums, count) }
        }

        /// Where this thread starts reading for a tile: X at position `thread mod 128` and row `thread / 128`, W at row
        /// `thread mod 8` (so that 8 lanes read 8 neighbouring taps) and channel `thread / 8`.
        #[inline(always)]
        fn gather(&self, first: u64) -> Gather {
            let shape = &self.parameters.shape;
            let p = first + (self.thread % POSITIONS) as u64;
            let position = if OPTIONS {
                // Past the last position nothing is met: all differences wrap.
                let coordinate = self.parameters.options.position(p).unwrap_or([u32::MAX; 3]);
                OutputPosition { coordinate, offset: 0 }
            } else {
                OutputPosition::new(p, shape)
            };
            let mut cursor = TapCursor::START;
            cursor.advance(self.warp * 32 / POSITIONS, shape);
            let (channel, tap) = div_rem((self.thread % STEP) as u64, shape.taps() as u64);
            Gather { position, cursor, channel: channel as u32, tap: tap as u32 }
        }

        /// With options: the place of the X of `gather`, in elements of the input.
        #[inline(always)]
        fn source(&self, gather: &Gather, part: Part) -> Option<u64> {
            let (shape, cursor) = (&self.parameters.shape, &gather.cursor);
            if cursor.channel >= self.in_channels() {
                return None;
            }
            let channel = part.group * self.in_channels() + cursor.channel;
            let volume = part.batch as u64 * shape.in_channels as u64 + channel as u64;
            let element = self.parameters.options.source(gather.position.coordinate, cursor.tap, shape.input)?;
            Some(volume * shape.volume() + element)
        }

        /// With options: whether the tap of `gather` carries anything.
        #[inline(always)]
        fn carries(&self, gather: &Gather) -> bool {
            let shape = &self.parameters.shape;
            let (line, k2) = div_rem(gather.tap as u64, shape.kernel[2] as u64);
            let (k0, k1) = div_rem(line, shape.kernel[1] as u64);
            self.parameters.options.carries([k0 as u32, k1 as u32, k2 as u32], shape.input)
        }

        /// Reads one step's values of X and W into registers, 0 where there are none, and moves on.
        #[inline(always)]
        unsafe fn bring(&self, gather: &mut Gather, part: Part) -> InFlight<T> {
            // SAFETY: the caller's promise.
            unsafe {
                match self.parameters.input.is_narrow() {
                    true => self.bring_in::<true>(gather, part),
                    false => self.bring_in::<false>(gather, part),
                }
            }
        }

        #[inline(always)]
        unsafe fn bring_in<const NARROW: bool>(&self, gather: &mut Gather, part: Part) -> InFlight<T> {
            let (parameters, shape) = (self.parameters, &self.parameters.shape);
            let mut flight = InFlight::none();
            let image = (part.batch as u64 * shape.in_channels as u64 * shape.volume()) as i64;
            unroll!(i < Self::TILE.position_loads() as usize, {
                if OPTIONS {
                    if let Some(at) = self.source(gather, part) {
                        // SAFETY: ci < Cin and an element of the volume, so at < B·Cin·V.
                        flight.x[i] = unsafe { parameters.input.bits::<NARROW>(at) };
                    }
                } else if gather.cursor.channel < shape.in_channels && gather.position.meets(gather.cursor.tap, shape) {
                    let at = (image + gather.position.offset + gather.cursor.delta) as u64;
                    // SAFETY: ci < Cin and p − k inside the volume, so at < B·Cin·V.
                    flight.x[i] = unsafe { parameters.input.bits::<NARROW>(at) };
                }
                gather.cursor.advance(Self::TILE.rows_at_once(), shape);
            });
            let taps = shape.taps();
            let carries = !OPTIONS || self.carries(gather);
            unroll!(i < Self::TILE.channel_loads() as usize, {
                let channel = part.channel + self.thread / STEP + i as u32 * (Self::TILE.threads() / STEP);
                if gather.channel < self.in_channels() && channel < self.out_channels() && carries {
                    let row = part.group * self.in_channels() + gather.channel;
                    let row = row as u64 * self.out_channels() as u64 + channel as u64;
                    // SAFETY: ci < Cin, c < Cout/groups, tap < taps, so the index is below Cin·Cout/groups·taps.
                    flight.w[i] = unsafe { parameters.kernel.bits::<NARROW>(row * taps as u64 + gather.tap as u64) };
                }
            });
            gather.tap += STEP;
            while gather.tap >= taps {
                gather.tap -= taps;
                gather.channel += 1;
            }
            flight
        }

        /// Writes what [`Self::bring`] read into a stage.
        #[inline(always)]
        unsafe fn put(&self, stage: u32, flight: &InFlight<T>) {
            // SAFETY: the caller's promise.
            unsafe {
                match self.parameters.input.is_narrow() {
                    true => self.put_in::<true>(stage, flight),
                    false => self.put_in::<false>(stage, flight),
                }
            }
        }

        #[inline(always)]
        unsafe fn put_in<const NARROW: bool>(&self, stage: u32, flight: &InFlight<T>) {
            let (input, kernel) = (self.parameters.input, self.parameters.kernel);
            let at = self.stages.offset(stage * Self::TILE.stage_elements());
            let x = at.offset(self.thread);
            unroll!(i < Self::TILE.position_loads() as usize, {
                let value = A::from_f64(input.widen::<NARROW>(flight.x[i]).to_f64());
                // SAFETY: rows 0..8 of 128; thread + i·threads enumerates them.
                unsafe { x.store(i as u32 * Self::TILE.threads(), value) };
            });
            let w = at.offset(Self::W + self.thread % STEP * Self::TILE.channel_row() + self.thread / STEP);
            unroll!(i < Self::TILE.channel_loads() as usize, {
                let value = A::from_f64(kernel.widen::<NARROW>(flight.w[i]).to_f64());
                // SAFETY: row thread mod 8, channel thread/8 + i·threads/8 < channels.
                unsafe { w.store(i as u32 * (Self::TILE.threads() / STEP), value) };
            });
        }

        /// z += W·X over one stage, and the sums behind the mean: warp v takes rows v, v + warps, …; its lanes sum the
        /// row's x over the positions, and each multiplies by w of its channels (lane, lane + 32, …).
        #[inline(always)]
        unsafe fn multiply(&self, stage: u32, z: &mut [[A; POSITION_MICRO as usize]; MICRO], sums: &mut [f64; 4]) {
            let (channels, positions) = (Self::TILE.channel_side(), Self::TILE.position_side());
            let vector = Self::TILE.vector();
            let at = self.stages.offset(stage * Self::TILE.stage_elements());
            let (xs, ws) = (at, at.offset(Self::W));
            for k in 0..STEP {
                let mut w = [A::default(); MICRO];
                let mut x = [A::default(); POSITION_MICRO as usize];
                for e in (0..MICRO).step_by(vector as usize) {
                    let at = k * Self::TILE.channel_row() + channels.index(self.place.0, e as u32);
                    // SAFETY: row k < 8 of the stage, a 16-byte aligned vector (tested in `tile`).
                    unsafe { ws.load_16(at, &mut w[e..]) };
                }
                for e in (0..POSITION_MICRO as usize).step_by(vector as usize) {
                    let at = k * POSITIONS + positions.index(self.place.1, e as u32);
                    // SAFETY: as above.
                    unsafe { xs.load_16(at, &mut x[e..]) };
                }
                for i in 0..MICRO {
                    for j in 0..POSITION_MICRO as usize {
                        z[i][j] = w[i].fma(x[j], z[i][j]);
                    }
                }
            }
            for pass in 0..STEP / Self::TILE.warps() {
                let row = pass * Self::TILE.warps() + self.warp;
                let mut x = [A::default(); 4];
                for e in (0..4).step_by(vector as usize) {
                    // SAFETY: 4 of the row's 128 positions a lane, in aligned vectors.
                    unsafe { xs.load_16(row * POSITIONS + e as u32 * 32 + self.lane * vector, &mut x[e..]) };
                }
                let mut sum = (x[0].to_f64() + x[1].to_f64()) + (x[2].to_f64() + x[3].to_f64());
                unroll!(level < 5, {
                    sum += shuffle_xor(sum, 16 >> level);
                });
                unroll!(i < Self::MEANS, {
                    let channel = i as u32 * 32 + self.lane;
                    if channel < Self::TILE.channels() {
                        // SAFETY: a row of the stage.
                        let w = unsafe { ws.load(row * Self::TILE.channel_row() + channel) }.to_f64();
                        // An infinite tap may meet nothing in this tile, and ∞·0 would be NaN. If it meets x that add up to 0, z and with it M2
                        // are not finite, so that `infinities` has a look at it.
                        let skipped = sum == 0.0 && w.abs() == f64::INFINITY;
                        sums[i] = if skipped { sums[i] } else { w.fma(sum, sums[i]) };
                    }
                });
            }
        }

        /// The tile's moments from its z and sums. Shared memory now holds, from 0: sums (warps × channels), then the
        /// squares (2 × channels), both f64, then the shifts (channels), in `A`.
        #[inline(always)]
        unsafe fn epilogue(&self, z: &[[A; POSITION_MICRO as usize]; MICRO], sums: &[f64; 4], count: u32) -> Moments {
            let channels = Self::TILE.channels();
            let all_sums = Shared::<f64>::dynamic(0);
            let squares = all_sums.offset(Self::TILE.warps() * channels);
            let shifts = Shared::<A>::dynamic((Self::TILE.warps() + 2) * channels * 8);
            let mine = self.thread < channels;
            let mut moments = Moments::EMPTY;

            unroll!(i < Self::MEANS, {
                let channel = i as u32 * 32 + self.lane;
                if channel < channels {
                    // SAFETY: one element a (warp, channel); the stages are no longer read.
                    unsafe { all_sums.store(self.warp * channels + channel, sums[i]) };
                }
            });
            sync_threads();
            if mine {
                let mut sum = 0.0;
                for warp in 0..Self::TILE.warps() {
                    // SAFETY: written before the barrier.
                    sum += unsafe { all_sums.load(warp * channels + self.thread) };
                }
                moments = Moments { count: count as f64, mean: sum / count as f64, m2: 0.0 };
                // SAFETY: one element a channel.
                unsafe { shifts.store(self.thread, A::from_f64(moments.mean)) };
            }
            sync_threads();
            unroll!(i < MICRO, {
                let channel = Self::TILE.channel_side().index(self.place.0, i as u32);
                // SAFETY: written before the barrier.
                let shift = unsafe { shifts.load(channel) };
                let mut square = A::default();
                for j in 0..POSITION_MICRO {
                    if Self::TILE.position_side().index(self.place.1, j) < count {
                        let d = z[i][j as usize] - shift;
                        square = d.fma(d, square);
                    }
                }
                let mut square = square.to_f64();
                unroll!(level < 3, {
                    square += shuffle_xor(square, 4 >> level);
                });
                if self.lane.is_multiple_of(8) {
                    // SAFETY: one element a (half of the positions, channel).
                    unsafe { squares.store(self.warp % 2 * channels + channel, square) };
                }
            });
            sync_threads();
            if mine {
                // SAFETY: written before the barrier.
                moments.m2 = unsafe { squares.load(self.thread) + squares.load(channels + self.thread) };
            }
            moments
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epilogue's layout fits in the shared memory that the product asks for.
    #[test]
    fn the_epilogue_fits_in_the_stages() {
        for tile in TILES {
            let bytes = (tile.warps() + 2) * tile.channels() * 8 + tile.channels() * tile.bytes;
            assert!(bytes <= tile.shared_bytes(), "{tile:?}: {bytes} > {}", tile.shared_bytes());
            assert!(tile.shared_bytes() <= 48 * 1024, "no opt-in needed");
        }
    }
}
