//! The direct way on the tensor cores: the convolution as products of rows and taps, reduced to squares and never stored.
//!
//! ```text
//! z[b,c,p] = Σ_k Σ_ci x[b,ci,source(p, k)] · w[ci,c,k]            over the taps of p's phase
//! mean[b,c,i], M2[b,c,i] = s·m[b,c], s²·Σ (z − m[b,c])² over tile i        m: the mean of all of (b, c), known before
//! ```
//!
//! Squares about the same m add up: merging such slices gives the row's mean and M2. Positions that no tap is for are tile 0's, z = 0.
//!
//! **Data flow.** A block of four warps makes tiles of 128 rows (positions, or positions and images, [`phased_conv`](crate::phased_conv))
//! by 64 or 32 output channels, a warp 64 × 32 or 32 × 32 of them; on Hopper all four together
//! ([`wgmma`](cuda_std::wgmma)), 128 by 64 or 32, from shared memory, while all ask for what comes after the next step. Factors and their scales are made before by
//! [`channels_last`](crate::channels_last) and [`split_taps`](crate::split_taps); [`implicit_gemm_stage`](crate::implicit_gemm_stage)
//! says what comes next, taps that no position of the tile meets left out, and [`implicit_gemm_copies`](crate::implicit_gemm_copies) brings it.
//!
//! **Accumulation.** The tensor cores cut sums off: they add over two planes (16 channels of high and low words, or 32 of 16 bits), on Hopper over
//! the four of a step, products with low words first, and f32 arithmetic from there. Squares: f32 over a thread's rows, then f64.
//!
//! **Cost.** 2·3 (f32) or 2 flop a (row, tap, channel, output channel). A step's shared memory is 64 rows of taps and 128 of the window once a line.
//!
//! **Launch.** One dimension, a block an item.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::ElementType;
use crate::implicit_gemm_copies::THREADS;
use crate::implicit_gemm_schedule::Buffers;
use crate::phased_conv::PhasedConv;
use crate::work::Work;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ImplicitGemm {
    /// x as [`channels_last`](crate::channels_last) wrote it.
    pub rows: Global<u32>,
    /// w as [`split_taps`](crate::split_taps) wrote it.
    pub taps: Global<u32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// m: the mean of z a (b, c).
    pub conv_mean: Global<f64>,
    /// Out: s·m a (b, c, slice).
    pub mean: GlobalMut<f64>,
    /// Out: s²·Σ(z − m)² a (b, c, slice).
    pub m2: GlobalMut<f64>,
    /// s.
    pub scale: f64,
    /// Positions that no tap is for.
    pub unreached: u64,
    /// The convolution.
    pub conv: PhasedConv,
    /// Its division among blocks: a tile a slice, tiles of channels of all groups, `images` images a batch.
    pub work: Work,
}

/// One compiled form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its launch, of whose shared memory warpgroups need [more](Form::shared_bytes).
    pub spec: KernelSpec,
    /// Output channels of a tile.
    pub columns: u32,
    /// The tensors' format.
    pub element: ElementType,
}

const fn form(name: &'static str, columns: u32, element: ElementType) -> Form {
    let min_blocks = if columns == 64 { 2 } else { 3 };
    let shared_bytes = Buffers::new(columns, false).bytes();
    Form { spec: KernelSpec { name, threads: THREADS, min_blocks, shared_bytes }, columns, element }
}

/// All forms.
pub const FORMS: [Form; 6] = [
    form("implicit_gemm_f32_wide", 64, ElementType::F32),
    form("implicit_gemm_f32_narrow", 32, ElementType::F32),
    form("implicit_gemm_f16_wide", 64, ElementType::F16),
    form("implicit_gemm_f16_narrow", 32, ElementType::F16),
    form("implicit_gemm_bf16_wide", 64, ElementType::Bf16),
    form("implicit_gemm_bf16_narrow", 32, ElementType::Bf16),
];

impl Form {
    /// The index in [`FORMS`] of the form for tensors in a format of up to 32 bits and `channels` output channels a group.
    pub fn index_for(element: ElementType, channels: u32) -> usize {
        let of = |form: &Form| form.element == element && (form.columns == 32) == (channels <= 32);
        FORMS.iter().position(of).unwrap_or(0)
    }

    /// Bytes of shared memory of a launch whose products are of warpgroups, or not.
    pub const fn shared_bytes(&self, warpgroups: bool) -> u32 {
        Buffers::new(self.columns, warpgroups).bytes()
    }

    /// How a convolution is divided into items: a tile each.
    pub fn work(&self, conv: &PhasedConv) -> Work {
        let tiles = conv.out_channels.div_ceil(self.columns) * conv.options.groups;
        Work::split(u64::from(conv.tiles()), 1, tiles, conv.shape.batch.div_ceil(conv.images), u64::MAX)
    }
}

pub mod device {
    //! The device code.
    use core::marker::PhantomData;

    use cuda_std::async_copy::{commit_group, wait_all, wait_group};
    use cuda_std::bulk_copy::fence_proxy_async;
    use cuda_std::float::Float;
    use cuda_std::matrix::ldmatrix_x4;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, lane_index, sync_threads, thread_idx_x};
    use cuda_std::warp::{ballot, shuffle_xor};
    use cuda_std::wgmma::{self, Products, Rows};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::factor_panels::{Panels, ROW, place};
    use crate::factors::device::{Bfloat, Factors, Half, Split};
    use crate::factors::{PLANES, power};
    use crate::implicit_gemm_copies::device::Copies;
    use crate::implicit_gemm_schedule::device::Table;
    use crate::implicit_gemm_schedule::{Entry, Schedule};
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;
    use crate::phased_conv::AxisPhase;

    macro_rules! form {
        ($name:ident, $factors:ty, $columns:literal, $min_blocks:literal) => {
            /// See the module.
            ///
            /// # Safety
            /// Each pointer holds what its field says; nobody else accesses `mean` and `m2`; the launch is as the form's
            /// spec says, with the shared memory that the form says.
            #[kernel(max_threads = 128, min_blocks = $min_blocks)]
            pub unsafe fn $name(p: ImplicitGemm) {
                // SAFETY: the caller's promise.
                unsafe {
                    if wgmma::is_available() {
                        Block::<$factors, $columns, true>::new(&p).run()
                    } else {
                        Block::<$factors, $columns, false>::new(&p).run()
                    }
                }
            }
        };
    }
    form!(implicit_gemm_f32_wide, Split, 64, 2);
    form!(implicit_gemm_f32_narrow, Split, 32, 3);
    form!(implicit_gemm_f16_wide, Half, 64, 2);
    form!(implicit_gemm_f16_narrow, Half, 32, 3);
    form!(implicit_gemm_bf16_wide, Bfloat, 64, 2);
    form!(implicit_gemm_bf16_narrow, Bfloat, 32, 3);

    /// A warp's sums: tiles of 16 rows by 8 columns in the accumulators' layout, rows of tiles one after another.
    type Sums = [[f32; 4]; 16];

    /// Products on their way, of a tile of 64 columns or of 32.
    enum Started {
        Wide(Products<8>),
        Narrow(Products<4>),
    }

    impl Started {
        /// Waits for them and adds them.
        #[inline(always)]
        fn add_to(self, sums: &mut Sums) {
            match self {
                Self::Wide(products) => add(products.wait(), sums),
                Self::Narrow(products) => add(products.wait(), sums),
            }
        }

        /// The same while the next, which were started meanwhile, go on.
        #[inline(always)]
        fn add_while(self, next: &Self, sums: &mut Sums) {
            match (self, next) {
                (Self::Wide(products), Self::Wide(next)) => add(products.wait_while(next), sums),
                (Self::Narrow(products), Self::Narrow(next)) => add(products.wait_while(next), sums),
                _ => unreachable!("all tiles of a block have as many columns"),
            }
        }
    }

    #[inline(always)]
    fn add<const TILES: usize>(found: [[[f32; 4]; TILES]; 2], sums: &mut Sums) {
        unroll!(half < 2, {
            unroll!(n < TILES, at most 8, {
                unroll!(i < 4, {
                    sums[half * TILES + n][i] += found[half][n][i];
                });
            });
        });
    }

    /// A run of steps, whose table is written.
    struct Run<const COLUMNS: u32, const GROUP: bool> {
        copies: Copies<COLUMNS>,
        table: Table,
        count: u32,
        /// The next step.
        number: u32,
    }

    impl<const COLUMNS: u32, const GROUP: bool> Run<COLUMNS, GROUP> {
        const BUFFERS: Buffers = Buffers::new(COLUMNS, GROUP);

        /// Waits for the next step; behind it, nobody reads what [`ask`](Self::ask) replaces.
        ///
        /// # Safety
        /// There is one. All threads of the block come together, each having waited for the products before: all, or by warpgroups all but the last.
        #[inline(always)]
        unsafe fn arrive(&self) -> Entry {
            // SAFETY: the table has the step.
            let entry = unsafe { self.table.read(self.number) };
            // The last group of copies is for a step to come, unless a line begins.
            if Self::BUFFERS.ahead == 1 || entry.begins {
                wait_all();
            } else {
                wait_group::<1>();
            }
            if GROUP {
                fence_proxy_async();
            }
            sync_threads();
            entry
        }

        /// Asks for what is to come, as one group of copies, and goes on to the next step.
        ///
        /// # Safety
        /// Behind [`arrive`](Self::arrive), once, by all threads of the block.
        #[inline(always)]
        unsafe fn ask(&mut self, entry: &Entry) {
            // SAFETY: the schedule asks for rows of the tile, into buffers that nobody reads behind `arrive`.
            unsafe {
                if let Some(window) = entry.next_window {
                    self.copies.bring_window(window);
                }
                if let Some(taps) = entry.next_taps {
                    self.copies.bring_taps(taps);
                }
            }
            commit_group();
            self.number += 1;
        }
    }

    /// A thread's place in the tile. Found anew, and not kept meanwhile: the products need the registers.
    struct Place {
        lane: u32,
        /// Its warp's number along the rows, and the numbers of its first row and column.
        warp: u32,
        row: u32,
        column: u32,
    }

    /// What computes, of 128 rows by `COLUMNS`: four warps each by themselves or, with `GROUP`, together.
    struct Block<'a, F, const COLUMNS: u32, const GROUP: bool> {
        p: &'a ImplicitGemm,
        factors: PhantomData<F>,
    }

    impl<'a, F: Factors, const COLUMNS: u32, const GROUP: bool> Block<'a, F, COLUMNS, GROUP> {
        /// Whether output channels are the rows of the products: 64 by 128 positions take a quarter less of shared memory than 128 by 64.
        const BY_CHANNELS: bool = GROUP && COLUMNS == 64;
        /// Tiles of a warp along the rows.
        const HEIGHT: usize = COLUMNS as usize / 16;
        /// Tiles of a warp along the columns.
        const WIDTH: usize = 4;
        /// Warps along the rows.
        const ROW_WARPS: u32 = 128 / COLUMNS;
        /// Rows from one of a warp's tiles to the next.
        const APART: u32 = if GROUP { 64 } else { 16 };
        /// Chunks of a step.
        const CHUNKS: u32 = PLANES / F::PARTS;

        #[inline(always)]
        fn new(p: &'a ImplicitGemm) -> Self {
            Self { p, factors: PhantomData }
        }

        #[inline(always)]
        fn place() -> Place {
            let thread = opaque(thread_idx_x());
            let (lane, across) = (thread % 32, COLUMNS / 32);
            let (warp, column) = (thread / 32 / across, thread / 32 % across * 32);
            Place { lane, warp, row: warp * if GROUP { 16 } else { 16 * Self::HEIGHT as u32 }, column }
        }

        /// The block's tile.
        #[inline(always)]
        fn tile(&self) -> Tile {
            Tile::new(self.p, opaque(block_idx_x()), COLUMNS)
        }

        #[inline(always)]
        unsafe fn run(&self) {
            // SAFETY: the caller's promise; the item is this block's. It is found anew behind the products, and not kept meanwhile.
            unsafe {
                let sums = self.products(&self.tile());
                if Self::BY_CHANNELS {
                    self.reduce_by_channels(&self.tile(), &sums);
                } else {
                    self.reduce_by_rows(&self.tile(), &sums);
                }
            }
        }

        /// z of a tile, 2^−g of it.
        #[inline(always)]
        unsafe fn products(&self, tile: &Tile) -> Sums {
            let (conv, panels) = (&self.p.conv, Panels::new(&self.p.conv, F::PARTS));
            let buffers = Buffers::new(COLUMNS, GROUP);
            let schedule = Schedule::new(conv, tile.lines(conv, panels, buffers.halo), buffers, tile.source(conv));
            let (copies, table) = (Copies::<COLUMNS>::new(self.p, tile, panels), Table::new(buffers));
            let mut sums: Sums = [[0.0; 4]; 16];
            let (mut done, steps) = (0, schedule.steps());
            // SAFETY: the caller's promise; what is copied exists, and nobody reads the buffers yet. The block comes together.
            unsafe {
                if steps > 0 {
                    copies.bring_window(schedule.window(0));
                    for number in 0..buffers.ahead {
                        if number < steps {
                            copies.bring_taps(schedule.taps(number, panels.count));
                        }
                        commit_group();
                    }
                }
                while done < steps {
                    let count = if steps - done < buffers.run { steps - done } else { buffers.run };
                    table.write(&schedule, panels.count, done, count);
                    let mut run = Run::<COLUMNS, GROUP> { copies, table, count, number: 0 };
                    if GROUP {
                        self.by_warpgroup(&mut run, &mut sums);
                    } else {
                        while run.number < count {
                            let entry = run.arrive();
                            run.ask(&entry);
                            self.step(&entry, &mut sums);
                        }
                    }
                    done += count;
                }
            }
            sums
        }

        /// Adds the products of a run, four warps together; the tensor cores have a step to do while the one before is added.
        ///
        /// # Safety
        /// All threads of the block come together.
        #[inline(always)]
        unsafe fn by_warpgroup(&self, run: &mut Run<COLUMNS, GROUP>, sums: &mut Sums) {
            // SAFETY: steps of the run, in order.
            unsafe {
                // By turns, so that each has its registers.
                let mut even = self.start(run);
                loop {
                    if run.number == run.count {
                        even.add_to(sums);
                        break;
                    }
                    let odd = self.start(run);
                    even.add_while(&odd, sums);
                    if run.number == run.count {
                        odd.add_to(sums);
                        break;
                    }
                    even = self.start(run);
                    odd.add_while(&even, sums);
                }
            }
        }

        /// Starts the products of the run's next step, and asks for what is to come.
        ///
        /// # Safety
        /// There is one; all threads of the block come together, of the products before, all but the last waited for.
        #[inline(always)]
        unsafe fn start(&self, run: &mut Run<COLUMNS, GROUP>) -> Started {
            // SAFETY: the caller's promise. Rows of the window and of the taps, the same for all threads.
            unsafe {
                let entry = run.arrive();
                let rows = |plane: usize| Rows::new(Shared::dynamic(0), entry.row, 2 * plane as u32);
                let columns = |plane: usize| Rows::new(Shared::dynamic(0), entry.taps, 2 * plane as u32);
                let started = if COLUMNS == 64 {
                    Started::Wide(F::start_64(rows, columns))
                } else {
                    Started::Narrow(F::start_32(rows, columns))
                };
                run.ask(&entry);
                started
            }
        }

        /// Adds the products of a step, each warp by itself.
        ///
        /// # Safety
        /// The step is complete; all lanes of the warp come together.
        #[inline(always)]
        unsafe fn step(&self, &Entry { row, taps, chunks, .. }: &Entry, sums: &mut Sums) {
            // SAFETY: the caller's promise.
            unsafe {
                if chunks < Self::CHUNKS {
                    let mut chunk = 0;
                    while chunk < chunks {
                        self.multiply::<1>(row, taps, chunk, sums);
                        chunk += 1;
                    }
                } else if F::PARTS == 2 {
                    self.multiply::<1>(row, taps, 0, sums);
                    self.multiply::<1>(row, taps, 1, sums);
                } else {
                    self.multiply::<2>(row, taps, 0, sums);
                    self.multiply::<2>(row, taps, 2, sums);
                }
            }
        }

        /// Adds the products of `CHUNKS` chunks from `chunk` on. They have two planes at most: more are too many registers.
        ///
        /// # Safety
        /// They are complete; all lanes of the warp come together.
        #[inline(always)]
        unsafe fn multiply<const CHUNKS: usize>(&self, first_row: u32, first_column: u32, chunk: u32, sums: &mut Sums) {
            let (Place { lane, row, column, .. }, planes) = (Self::place(), CHUNKS * F::PARTS as usize);
            let (all, first) = (Shared::<u32>::dynamic(0), 2 * F::PARTS * chunk);
            let row = first_row + row + lane % 16;
            let column = first_column + column + lane % 8 + lane / 16 * 8;
            // [plane][8 columns]
            let mut b = [[[0u32; 2]; 4]; 2];
            unroll!(plane < 2, {
                if plane < planes {
                    let at = all.offset(place(column, first + 2 * plane as u32 + lane / 8 % 2));
                    // SAFETY: rows of the taps, at 16-byte boundaries.
                    let ([b0, b1, b2, b3], [b4, b5, b6, b7]) =
                        unsafe { (ldmatrix_x4(at), ldmatrix_x4(at.offset(16 * ROW))) };
                    b[plane] = [[b0, b1], [b2, b3], [b4, b5], [b6, b7]];
                }
            });
            unroll!(tile < 4, {
                if tile < Self::HEIGHT {
                    let mut a = [[0u32; 4]; 2];
                    unroll!(plane < 2, {
                        if plane < planes {
                            let at = all.offset(place(row, first + 2 * plane as u32 + lane / 16));
                            // SAFETY: rows of the window, at 16-byte boundaries.
                            a[plane] = unsafe { ldmatrix_x4(at.offset(tile as u32 * (16 * ROW))) };
                        }
                    });
                    let mut part = [[0f32; 4]; 4];
                    unroll!(product < 3, {
                        if product < F::PRODUCTS.len() {
                            let (of_a, of_b) = F::PRODUCTS[product];
                            unroll!(chunk < 2, {
                                if chunk < CHUNKS {
                                    let plane = chunk * F::PARTS as usize;
                                    unroll!(n < 4, {
                                        part[n] = F::multiply(a[plane + of_a], b[plane + of_b][n], part[n]);
                                    });
                                }
                            });
                        }
                    });
                    unroll!(n < 4, {
                        unroll!(i < 4, {
                            sums[4 * tile + n][i] += part[n][i];
                        });
                    });
                }
            });
        }

        /// Stores Σ(z − m)² of the tile, whose channels are rows of the products: of a channel all are in four neighbouring lanes. Shared memory
        /// holds which of the tile's rows are positions.
        #[inline(always)]
        unsafe fn reduce_by_channels(&self, tile: &Tile, sums: &Sums) {
            let (p, conv) = (self.p, &self.p.conv);
            let (thread, lane, images) = (thread_idx_x(), lane_index(), conv.images);
            let (bits, positions) = (images.trailing_zeros(), Shared::<u32>::dynamic(0));
            let row = tile.first + (thread >> bits);
            let is_one = row < conv.rows_of(&tile.phase) && is_position(conv.coordinates(row), &tile.phase);
            sync_threads(); // the buffers are no longer read
            let found = ballot(is_one);
            if lane == 0 {
                // SAFETY: a word of this warp's.
                unsafe { positions.store(thread / 32, found) };
            }
            sync_threads();
            let mut there = [0u32; 4];
            // SAFETY: stored before the barrier, at the beginning of shared memory.
            unsafe { positions.load_16(0, &mut there) };
            unroll!(i < 2, {
                let column = tile.column + thread / 32 * 16 + lane / 4 + 8 * i as u32;
                let c = (tile.group * conv.out_channels + column) as u64;
                // Of this lane's two rows of each eight, which are of one image each.
                let mut found = [(0u64, 0f64, 0i32, 0f64, false); 2];
                unroll!(e < 2, {
                    let row = 2 * (lane % 4) + e as u32;
                    let b = tile.image + row % images;
                    let exists = b < conv.shape.batch && column < conv.out_channels;
                    let at = b as u64 * conv.shape.out_channels as u64 + c;
                    let (mut mean, mut g) = (0f64, 0);
                    if exists {
                        // SAFETY: b < B and c < Cout.
                        (mean, g) = unsafe { (p.conv_mean.load(at), p.channel_exponent.load(c)) };
                    }
                    let scaled = mean * power(-g);
                    let high = scaled as f32;
                    let low = (scaled - high as f64) as f32;
                    let mut square = 0f32;
                    unroll!(n < 16, {
                        let d = (sums[n][2 * i + e] - high) - low;
                        let is_one = there[n / 4] >> (8 * (n as u32 % 4) + row) & 1 == 1;
                        square = if is_one { d.fma(d, square) } else { square };
                    });
                    found[e] = (at, mean, g, square as f64, exists && row < images);
                });
                if bits == 0 {
                    found[0].3 += found[1].3;
                }
                unroll!(e < 2, {
                    let (at, mean, g, mut square, is_mine) = found[e];
                    // The other lanes of the image.
                    if bits < 2 {
                        square += shuffle_xor(square, 1);
                    }
                    if bits < 3 {
                        square += shuffle_xor(square, 2);
                    }
                    if is_mine {
                        // SAFETY: each (b, c, slice) belongs to one block, and to one lane.
                        unsafe { self.store(tile, at, mean, g, square) };
                    }
                });
            });
        }

        /// Stores the moments of a (b, c), number `at`, in the tile.
        ///
        /// # Safety
        /// They exist and are this thread's.
        #[inline(always)]
        unsafe fn store(&self, tile: &Tile, at: u64, mean: f64, g: i32, square: f64) {
            let (p, gain) = (self.p, power(g));
            let outside = if tile.slice == 0 { p.unreached as f64 * mean * mean } else { 0.0 };
            let at = at * p.work.slices + tile.slice as u64;
            // SAFETY: the caller's promise.
            unsafe {
                p.mean.store(at, mean * p.scale);
                p.m2.store(at, (square * gain * gain + outside) * p.scale * p.scale);
            }
        }

        /// Stores Σ(z − m)² of the tile, whose positions are rows of the products. Shared memory holds (warps along the rows, image, column) of f64.
        #[inline(always)]
        unsafe fn reduce_by_rows(&self, tile: &Tile, sums: &Sums) {
            let (p, conv) = (self.p, &self.p.conv);
            let Place { lane, warp, row: first_row, column: first_column } = Self::place();
            let (all, images) = (Shared::<f64>::dynamic(0), conv.images);
            let bits = images.trailing_zeros();
            // All of a thread's rows are of one image.
            let image = lane / 4 % images;
            let b = tile.image + image;
            let rows = conv.rows_of(&tile.phase);
            let mut there = 0u32;
            unroll!(n < 8, {
                if n < 2 * Self::HEIGHT {
                    let row = first_row + Self::APART * (n as u32 / 2) + 8 * (n as u32 % 2) + lane / 4;
                    let row = tile.first + (row >> bits);
                    there |= ((row < rows && is_position(conv.coordinates(row), &tile.phase)) as u32) << n;
                }
            });
            sync_threads(); // the buffers are no longer read
            unroll!(n < 4, {
                unroll!(i < 2, {
                    let column = first_column + 8 * n as u32 + 2 * (lane % 4) + i as u32;
                    let mut square = 0f32;
                    if b < conv.shape.batch && tile.column + column < conv.out_channels {
                        let c = (tile.group * conv.out_channels + tile.column + column) as u64;
                        // SAFETY: b < B and c < Cout.
                        let (mean, g) = unsafe {
                            let row = b as u64 * conv.shape.out_channels as u64 + c;
                            (p.conv_mean.load(row), p.channel_exponent.load(c))
                        };
                        let mean = mean * power(-g);
                        let high = mean as f32;
                        let low = (mean - high as f64) as f32;
                        unroll!(row < 8, {
                            if row < 2 * Self::HEIGHT && there >> row & 1 == 1 {
                                let d = (sums[row / 2 * Self::WIDTH + n][row % 2 * 2 + i] - high) - low;
                                square = d.fma(d, square);
                            }
                        });
                    }
                    let mut square = square as f64;
                    // The other lanes of the image.
                    if bits < 1 {
                        square += shuffle_xor(square, 4);
                    }
                    if bits < 2 {
                        square += shuffle_xor(square, 8);
                    }
                    if bits < 3 {
                        square += shuffle_xor(square, 16);
                    }
                    if lane / 4 < images {
                        // SAFETY: one element a (warp along the rows, image, column); the buffers are no longer read.
                        unsafe { all.store((warp * images + image) * COLUMNS + column, square) };
                    }
                });
            });
            sync_threads();
            unroll!(n < 4, {
                let pair = n as u32 * THREADS + thread_idx_x();
                let (image, column) = (pair / COLUMNS, tile.column + pair % COLUMNS);
                let b = tile.image + image;
                if image < images && b < conv.shape.batch && column < conv.out_channels {
                    let c = (tile.group * conv.out_channels + column) as u64;
                    let row = b as u64 * conv.shape.out_channels as u64 + c;
                    let mut square = 0f64;
                    unroll!(warp < 4, {
                        if (warp as u32) < Self::ROW_WARPS {
                            // SAFETY: written before the barrier.
                            square += unsafe { all.load(warp as u32 * images * COLUMNS + pair) };
                        }
                    });
                    // SAFETY: b < B and c < Cout; each (b, c, slice) belongs to one block, and to one thread.
                    unsafe { self.store(tile, row, p.conv_mean.load(row), p.channel_exponent.load(c), square) };
                }
            });
        }
    }

    /// Whether these coordinates, of a row of the phase, are a position.
    #[inline(always)]
    fn is_position(q: [u32; 3], phase: &[AxisPhase; 3]) -> bool {
        q[1] < phase[1].count && q[2] < phase[2].count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phased_conv::MAX_IMAGES;

    #[test]
    fn blocks_fit_and_the_epilogue_fits_in_the_buffers() {
        for form in FORMS {
            for (warpgroups, most) in [(false, 164), (true, 228)] {
                let bytes = form.shared_bytes(warpgroups);
                assert!(form.spec.min_blocks * (bytes + 1024) <= most * 1024, "{form:?}");
                assert!(128 / form.columns * MAX_IMAGES * form.columns * 8 <= bytes);
            }
            assert_eq!(form.shared_bytes(false), form.spec.shared_bytes);
            assert!(MAX_IMAGES * form.columns <= 4 * THREADS);
        }
    }
}
