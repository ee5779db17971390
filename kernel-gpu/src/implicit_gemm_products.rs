//! z of a tile of [`implicit_gemm`](crate::implicit_gemm): products of rows of the window and taps, added up step by step.
//!
//! ```text
//! 2^−g·z[row, c] = Σ_step Σ_chunk x[row of the step's window, chunk] · w[c, the step's tap, chunk]
//! ```
//!
//! **Who has what.** A warp makes 64 × 32 or 32 × 32 of the sums (`mma.sync`), factors brought to its registers by `ldmatrix`; on Hopper all four make
//! 128 by 64 or 32 together ([`wgmma`](cuda_std::wgmma)), from shared memory, while all ask for what comes after the next step. Both leave a thread
//! the same [tiles](device::Layout) of 16 × 8, in other places.
//!
//! **Accumulation.** The tensor cores cut sums off: they add over two planes (16 channels of high and low words, or 32 of 16 bits), on Hopper over
//! the four of a step, products with low words first, and f32 arithmetic from there.

pub mod device {
    //! The device code.
    use core::marker::PhantomData;

    use cuda_std::async_copy::{commit_group, wait_all, wait_group};
    use cuda_std::bulk_copy::fence_proxy_async;
    use cuda_std::matrix::ldmatrix_x4;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{sync_threads, thread_idx_x};
    use cuda_std::unroll;
    use cuda_std::wgmma::{Products, Rows};

    use crate::factor_panels::{Panels, ROW, place};
    use crate::factors::PLANES;
    use crate::factors::device::Factors;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_copies::device::Copies;
    use crate::implicit_gemm_schedule::device::Table;
    use crate::implicit_gemm_schedule::{Buffers, Entry, Schedule};
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;

    /// A thread's sums: of tiles of 16 rows by 8 columns in the accumulators' layout, rows of tiles one after another.
    pub type Sums = [[f32; 4]; 16];

    /// How a block's threads share a tile of 128 rows by `COLUMNS`: four warps each by themselves or, with `GROUP`, together.
    pub struct Layout<const COLUMNS: u32, const GROUP: bool>;

    /// A thread's place in the tile. Found anew, and not kept meanwhile: the products need the registers.
    pub struct Place {
        /// The thread's number in its warp.
        pub lane: u32,
        /// Its warp's number along the rows.
        pub warp: u32,
        /// The warp's first row.
        pub row: u32,
        /// The warp's first column.
        pub column: u32,
    }

    impl<const COLUMNS: u32, const GROUP: bool> Layout<COLUMNS, GROUP> {
        /// Whether output channels are the rows of the products: 64 by 128 positions take a quarter less of shared memory than 128 by 64.
        pub const BY_CHANNELS: bool = GROUP && COLUMNS == 64;
        /// Tiles of a warp along the rows.
        pub const HEIGHT: usize = COLUMNS as usize / 16;
        /// Tiles of a warp along the columns.
        pub const WIDTH: usize = 4;
        /// Warps along the rows.
        pub const ROW_WARPS: u32 = 128 / COLUMNS;
        /// Rows from one of a warp's tiles to the next.
        pub const APART: u32 = if GROUP { 64 } else { 16 };

        /// This thread's place, where positions are the rows of the products.
        #[inline(always)]
        pub fn place() -> Place {
            let thread = opaque(thread_idx_x());
            let (lane, across) = (thread % 32, COLUMNS / 32);
            let (warp, column) = (thread / 32 / across, thread / 32 % across * 32);
            Place { lane, warp, row: warp * if GROUP { 16 } else { 16 * Self::HEIGHT as u32 }, column }
        }
    }

    /// z of a tile, 2^−g of it.
    ///
    /// # Safety
    /// The parameters are as the kernel asks, and the tile is one of theirs; all threads of the block come together, with the form's shared memory.
    #[inline(always)]
    pub unsafe fn products<F: Factors, const COLUMNS: u32, const GROUP: bool>(p: &ImplicitGemm, tile: &Tile) -> Sums {
        let (conv, panels) = (&p.conv, Panels::new(&p.conv, F::PARTS));
        let buffers = Buffers::new(COLUMNS, GROUP);
        let schedule = Schedule::new(conv, tile.lines(conv, panels, buffers.halo), buffers, tile.source(conv));
        let (copies, table) = (Copies::<COLUMNS>::new(p, tile, panels), Table::new(buffers));
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
                let mut run = Run::<F, COLUMNS, GROUP> { factors: PhantomData, copies, table, count, number: 0 };
                if GROUP {
                    run.by_warpgroup(&mut sums);
                } else {
                    run.by_warps(&mut sums);
                }
                done += count;
            }
        }
        sums
    }

    /// A run of steps, whose table is written.
    struct Run<F, const COLUMNS: u32, const GROUP: bool> {
        factors: PhantomData<F>,
        copies: Copies<COLUMNS>,
        table: Table,
        count: u32,
        /// The next step.
        number: u32,
    }

    impl<F: Factors, const COLUMNS: u32, const GROUP: bool> Run<F, COLUMNS, GROUP> {
        const BUFFERS: Buffers = Buffers::new(COLUMNS, GROUP);
        /// Chunks of a step.
        const CHUNKS: u32 = PLANES / F::PARTS;

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

        /// Adds the products of the run, each warp by itself.
        ///
        /// # Safety
        /// All threads of the block come together, at the run's first step.
        #[inline(always)]
        unsafe fn by_warps(&mut self, sums: &mut Sums) {
            // SAFETY: steps of the run, in order, each once it has arrived.
            unsafe {
                while self.number < self.count {
                    let entry = self.arrive();
                    self.ask(&entry);
                    Self::step(&entry, sums);
                }
            }
        }

        /// Adds the products of the run, four warps together; the tensor cores have a step to do while the one before is added.
        ///
        /// # Safety
        /// There is a step; all threads of the block come together, at the run's first.
        #[inline(always)]
        unsafe fn by_warpgroup(&mut self, sums: &mut Sums) {
            // SAFETY: steps of the run, in order.
            unsafe {
                // By turns, so that each has its registers.
                let mut even = self.start();
                loop {
                    if self.number == self.count {
                        even.add_to(sums);
                        break;
                    }
                    let odd = self.start();
                    even.add_while(&odd, sums);
                    if self.number == self.count {
                        odd.add_to(sums);
                        break;
                    }
                    even = self.start();
                    odd.add_while(&even, sums);
                }
            }
        }

        /// Starts the products of the next step, and asks for what is to come.
        ///
        /// # Safety
        /// There is one; all threads of the block come together, of the products before, all but the last waited for.
        #[inline(always)]
        unsafe fn start(&mut self) -> Started {
            // SAFETY: the caller's promise. Rows of the window and of the taps, the same for all threads.
            unsafe {
                let entry = self.arrive();
                let rows = |plane: usize| Rows::new(Shared::dynamic(0), entry.row, 2 * plane as u32);
                let columns = |plane: usize| Rows::new(Shared::dynamic(0), entry.taps, 2 * plane as u32);
                let started = if COLUMNS == 64 {
                    Started::Wide(F::start_64(rows, columns))
                } else {
                    Started::Narrow(F::start_32(rows, columns))
                };
                self.ask(&entry);
                started
            }
        }

        /// Adds the products of a step, each warp by itself.
        ///
        /// # Safety
        /// The step is complete; all lanes of the warp come together.
        #[inline(always)]
        unsafe fn step(&Entry { row, taps, chunks, .. }: &Entry, sums: &mut Sums) {
            // SAFETY: the caller's promise.
            unsafe {
                if chunks < Self::CHUNKS {
                    let mut chunk = 0;
                    while chunk < chunks {
                        Self::multiply::<1>(row, taps, chunk, sums);
                        chunk += 1;
                    }
                } else if F::PARTS == 2 {
                    Self::multiply::<1>(row, taps, 0, sums);
                    Self::multiply::<1>(row, taps, 1, sums);
                } else {
                    Self::multiply::<2>(row, taps, 0, sums);
                    Self::multiply::<2>(row, taps, 2, sums);
                }
            }
        }

        /// Adds the products of `CHUNKS` chunks from `chunk` on. They have two planes at most: more are too many registers.
        ///
        /// # Safety
        /// They are complete; all lanes of the warp come together.
        #[inline(always)]
        unsafe fn multiply<const CHUNKS: usize>(first_row: u32, first_column: u32, chunk: u32, sums: &mut Sums) {
            let (Place { lane, row, column, .. }, planes) =
                (Layout::<COLUMNS, GROUP>::place(), CHUNKS * F::PARTS as usize);
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
                if tile < Layout::<COLUMNS, GROUP>::HEIGHT {
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
    }

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
}
