//! The sums of [`grid_resample`](crate::grid_resample): first along half for a group of ±fo, then along outer.
//!
//! ```text
//! S, T[j][h]     += even, odd[fr, h]·(in[fo_j] ± in[−fo_j])       a step
//! A, B[g0][h]    += even, odd[g0, fo_j]·(S, T)[j][h]              a group of steps
//! ```

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, sync_threads};
    use cuda_std::unroll;
    use cuda_std::warp::sync_warp;

    use crate::grid_resample::{OWN, PAIRS};
    use crate::grid_resample_factors::PITCH;

    /// What becomes of one tile: A and B, (g0, h); point 0 is the first.
    pub(crate) struct Sums<const U: usize, const V: usize> {
        pub(crate) even: [[f32; V]; U],
        pub(crate) odd: [[f32; V]; U],
    }

    /// S and T of a group.
    pub(crate) struct Group<const V: usize> {
        pub(crate) even: [[f32; V]; PAIRS as usize],
        pub(crate) odd: [[f32; V]; PAIRS as usize],
    }

    impl<const V: usize> Group<V> {
        pub(crate) const ZERO: Self = Self { even: [[0.0; V]; PAIRS as usize], odd: [[0.0; V]; PAIRS as usize] };

        /// Adds a step.
        ///
        /// # Safety
        /// Its numbers and factors are in the slot.
        #[inline(always)]
        pub(crate) unsafe fn add(&mut self, slot: Shared<f32>, sign: f32) {
            let (numbers, factors) = (slot.offset(lane_index()), slot.offset(2 * PAIRS * 32));
            let (mut even, mut odd) = ([0f32; 5], [0f32; 5]);
            // SAFETY: the caller's promise; a row of factors lies on a 16-byte boundary.
            unsafe {
                even[0] = factors.load(0);
                factors.load_16(4, &mut even[1..]);
                factors.load_16(8, &mut odd[1..]);
            }
            unroll!(j < 4, {
                // SAFETY: the caller's promise.
                let (here, there) = unsafe { (numbers.load(64 * j as u32), numbers.load(64 * j as u32 + 32)) };
                let (p, q) = (sign.fma(there, here), (-sign).fma(there, here));
                unroll!(v < 5, {
                    if v < V {
                        self.even[j][v] = even[v].fma(p, self.even[j][v]);
                        if v != 0 {
                            self.odd[j][v] = odd[v].fma(q, self.odd[j][v]);
                        }
                    }
                });
            });
        }
    }

    impl<const U: usize, const V: usize> Sums<U, V> {
        /// Adds a group, whose last step is in the slot.
        ///
        /// # Safety
        /// The group's factors are there.
        #[inline(always)]
        pub(crate) unsafe fn add(&mut self, group: &Group<V>, slot: Shared<f32>, sign: f32) {
            let outer = slot.offset(2 * PAIRS * 32 + PITCH);
            // Of the odd part point 0 is a zero.
            let (even, odd) = ([0, 4], [12, 8]);
            let (of_even, of_odd) = if sign > 0.0 { (even, odd) } else { (odd, even) };
            unroll!(j < 4, {
                // SAFETY: the caller's promise.
                let (of_even, of_odd) = unsafe { (row(outer, j as u32, of_even), row(outer, j as u32, of_odd)) };
                unroll!(u < 5, {
                    if u < U {
                        unroll!(v < 5, {
                            if v < V {
                                self.even[u][v] = of_even[u].fma(group.even[j][v], self.even[u][v]);
                                if v != 0 {
                                    self.odd[u][v] = of_odd[u].fma(group.odd[j][v], self.odd[u][v]);
                                }
                            }
                        });
                    }
                });
            });
        }

        /// Every number, A then B.
        #[inline(always)]
        pub(crate) fn each(&mut self, mut visit: impl FnMut(u32, &mut f32)) {
            unroll!(u < 5, {
                if u < U {
                    unroll!(v < 5, {
                        if v < V {
                            visit((u * V + v) as u32, &mut self.even[u][v]);
                            if v != 0 {
                                visit((U * V + u * V + v) as u32, &mut self.odd[u][v]);
                            }
                        }
                    });
                }
            });
        }
    }

    /// Five factors of row `j`: of point 0, and of the four others.
    ///
    /// # Safety
    /// The row is there.
    #[inline(always)]
    unsafe fn row(rows: Shared<f32>, j: u32, [zero, others]: [u32; 2]) -> [f32; 5] {
        let (row, mut factors) = (rows.offset(j * PITCH), [0f32; 5]);
        // SAFETY: the caller's promise; rows lie on 16-byte boundaries.
        unsafe {
            factors[0] = row.load(zero);
            row.load_16(others, &mut factors[1..]);
        }
        factors
    }

    /// Adds up, in the first of the warps that share a unit, what each of them found.
    ///
    /// # Safety
    /// All threads of the block call this; no copies into the ring, which is the warp's, are on their way.
    #[inline(always)]
    pub(crate) unsafe fn gather<const U: usize, const V: usize>(
        sums: &mut Sums<U, V>,
        ways: u32,
        way: u32,
        ring: Shared<f32>,
    ) {
        let lane = ring.offset(lane_index());
        sync_warp(); // the last step is no longer read
        if way > 0 {
            // SAFETY: 50 numbers of each lane, fewer than a ring's words, in the warp's own.
            sums.each(|place, sum| unsafe { lane.store(32 * place, *sum) });
        }
        sync_threads();
        if way == 0 {
            let mut other = 1;
            while other < ways {
                let lane = lane.offset(other * OWN);
                // SAFETY: the warp that stored them is one of the block's next, and did so before the barrier.
                sums.each(|place, sum| *sum += unsafe { lane.load(32 * place) });
                other += 1;
            }
        }
    }
}
