//! The transform of a short real row, held in registers by one thread.
//!
//! ```text
//! C_f = Σ_k x[k]·cos(2πf(k − c)/N),   S_f = Σ_k x[k]·sin(2πf(k − c)/N),   c = D/2,   X_{±f} = C_f ∓ i·S_f
//! ```
//!
//! N real numbers come of D: C_f is component f (f ≤ N/2), S_f component N − f (0 < f < N/2). They are transformed along the
//! other axes as they are; complex numbers form where all axes are done.
//!
//! **Folds.** About the middle, `e_j = x[c+j] + x[c−j]` meets the cosines and `o_j = x[c+j] − x[c−j]` the sines (`e_0 = x[c]`).
//! For even N, j and N/2 − j fold once more: e_j ± e_{N/2−j} and o_j ∓ o_{N/2−j}, the upper sign for even f. Where 4 divides
//! N, sums over even and over odd j give f and N/2 − f at once: C_{N/2−f} = Ce − Co, S_{N/2−f} = So − Se.
//!
//! **Table.** Row f holds the cosines of j = 0, 1, … and the sines of j = 1, 2, …, [`Folding::terms`] each: read as 16-byte
//! vectors by all threads at once.

use crate::spectrum::rem;

/// How the rows of an axis fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folding {
    /// D.
    pub input: u32,
    /// N.
    pub n: u32,
    /// Whether 2 divides N.
    pub even: bool,
    /// Terms of each sum, at least.
    pub terms: u32,
}

impl Folding {
    /// The folding of `input` values into `n` components.
    #[inline(always)]
    pub const fn new(input: u32, n: u32) -> Self {
        let even = n.is_multiple_of(2);
        let terms = if even { n / 4 + 1 } else { input / 2 + 1 };
        Self { input, n, even, terms }
    }

    /// The last f that is summed; where 4 divides N, N/2 − f comes with it.
    #[inline(always)]
    pub const fn last(&self) -> u32 {
        if self.n.is_multiple_of(4) { self.n / 4 } else { self.n / 2 }
    }

    /// With the sums of so many terms, an even number.
    #[inline(always)]
    pub const fn with_terms(self, terms: u32) -> Self {
        Self { terms, ..self }
    }

    /// Numbers in the table.
    #[inline(always)]
    pub const fn table(&self) -> u32 {
        (self.last() + 1) * 2 * self.terms
    }

    /// Entry `index` of the table: (f·j mod N, whether it is a sine), or none for 0.
    #[inline(always)]
    pub const fn entry(&self, index: u32) -> Option<(u32, bool)> {
        let (f, i) = (index / (2 * self.terms), index % (2 * self.terms));
        let sine = i >= self.terms;
        let j = if sine { i - self.terms + 1 } else { i };
        if self.even && j > self.n / 4 { None } else { Some((rem(f * j, self.n), sine)) }
    }
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::unroll;

    use super::*;

    /// What [`opaque`] takes.
    pub trait Opaque {
        /// See [`opaque`].
        fn opaque(self) -> Self;
    }

    macro_rules! opaque {
        ($type:ty, $class:ident, $move:literal) => {
            impl Opaque for $type {
                #[inline(always)]
                fn opaque(self) -> Self {
                    #[cfg(target_arch = "nvptx64")]
                    {
                        let same;
                        // SAFETY: moves a register. Not `pure`, so that it stays where it is.
                        unsafe {
                            core::arch::asm!(concat!($move, " {0}, {1};"), out($class) same, in($class) self,
                                options(nomem, nostack))
                        };
                        same
                    }
                    #[cfg(not(target_arch = "nvptx64"))]
                    self
                }
            }
        };
    }
    opaque!(u32, reg32, "mov.u32");
    opaque!(u64, reg64, "mov.u64");

    /// The value, but as the compiler cannot know: what follows from it is then computed where it is needed, and not kept in
    /// registers for all forms of all passes at once.
    #[inline(always)]
    pub fn opaque<T: Opaque>(value: T) -> T {
        value.opaque()
    }

    impl Folding {
        /// Thread `thread` of `threads` writes its part of the table.
        ///
        /// # Safety
        /// `twiddles` holds the axis' 2·N pairs (cos, sin)(π·m/N), `table` has room for [`Folding::table`] numbers that
        /// nobody accesses before the next barrier.
        #[inline(always)]
        pub unsafe fn write_table(&self, twiddles: Global<f32>, table: Shared<f32>, thread: u32, threads: u32) {
            let mut i = thread;
            while i < self.table() {
                let value = match self.entry(i) {
                    // SAFETY: 2·(f·j mod N) < 2·N pairs.
                    Some((m, sine)) => unsafe { twiddles.load(4 * m as u64 + sine as u64) },
                    None => 0.0,
                };
                // SAFETY: i < table(), one thread each.
                unsafe { table.store(i, value) };
                i += threads;
            }
        }

        /// The same extents, but [`opaque`].
        #[inline(always)]
        pub fn opaque(&self) -> Self {
            Self { input: opaque(self.input), n: opaque(self.n), ..*self }
        }
    }

    /// The reads of a row's j-th terms, j = 0, 1, …: elements c + j, c − j, c + N/2 − j, c − N/2 + j.
    struct Reads {
        /// The indices.
        at: [u32; 4],
        /// Bit j: whether that element exists and has not been read.
        exists: [u32; 4],
        step: u32,
    }

    impl Reads {
        /// Of the row whose element k is at index base + k·step.
        #[inline(always)]
        fn new<const EVEN: bool>(folding: &Folding, base: u32, step: u32) -> Self {
            let (input, middle, across) = (folding.input, folding.input / 2, folding.n / 2);
            let count = if EVEN { folding.n / 4 + 1 } else { middle + 1 };
            // N/4 folds onto itself: it counts once.
            let folds = below((folding.n + 2) / 4);
            let exists = [
                below(count) & below(input - middle),
                below(count) & below(middle + 1) & !1,
                folds & !below((middle + across + 1).saturating_sub(input)),
                folds & !below(across.saturating_sub(middle)),
            ];
            let at = [middle, middle, middle + across, middle.wrapping_sub(across)];
            Self {
                at: at.map(|k| base.wrapping_add(k.wrapping_mul(step))),
                exists: exists.map(opaque),
                step: opaque(step),
            }
        }

        /// The j-th terms, after all before: (e_j, o_j) and what folds onto them, (e, o) of N/2 − j.
        #[inline(always)]
        fn terms<const EVEN: bool>(&mut self, j: usize, read: &mut impl FnMut(u32, bool) -> f32) -> [f32; 4] {
            let mut x = [0f32; 4];
            unroll!(i < if EVEN { 4 } else { 2 }, {
                x[i] = read(self.at[i], self.exists[i] >> j & 1 != 0);
                let onwards = i == 0 || i == 3;
                let step = if onwards { self.step } else { self.step.wrapping_neg() };
                self.at[i] = self.at[i].wrapping_add(step);
            });
            [x[0] + x[1], x[0] - x[1], x[2] + x[3], x[2] - x[3]]
        }
    }

    /// The bits below `count`.
    #[inline(always)]
    const fn below(count: u32) -> u32 {
        if count < 32 { (1 << count) - 1 } else { u32::MAX }
    }

    /// A folded row: what meets the cosines and the sines, for even and for odd f (only the first, for odd N).
    #[derive(Clone, Copy)]
    pub struct Folded<const K: usize> {
        cos: [[f32; K]; 2],
        sin: [[f32; K]; 2],
    }

    impl<const K: usize> Folded<K> {
        /// No row.
        pub const ZERO: Self = Self { cos: [[0.0; K]; 2], sin: [[0.0; K]; 2] };

        /// The row whose element k is at index base + k·step: `read(index, true)` gives it, called once for each, and
        /// `read(_, false)` gives 0.
        #[inline(always)]
        pub fn both<const EVEN: bool>(
            folding: &Folding,
            (base, step): (u32, u32),
            mut read: impl FnMut(u32, bool) -> f32,
        ) -> Self {
            let mut row = Self::ZERO;
            let mut reads = Reads::new::<EVEN>(folding, base, step);
            each_term::<K>(
                #[inline(always)]
                |j| {
                    let [e, o, e2, o2] = reads.terms::<EVEN>(j, &mut read);
                    row.cos[0][j] = e + e2;
                    row.cos[1][j] = e - e2;
                    if j > 0 {
                        row.sin[0][j - 1] = o - o2;
                        row.sin[1][j - 1] = o + o2;
                    }
                },
            );
            row
        }
    }

    /// `body(j)` for j < K, each with j a constant.
    #[inline(always)]
    fn each_term<const K: usize>(mut body: impl FnMut(usize)) {
        unroll!(j < if K < 16 { K } else { 16 }, {
            body(j);
        });
        unroll!(j < K.saturating_sub(16), {
            body(16 + j);
        });
    }

    /// The sums of one f over even and odd j: (Ce, Co, Se, So).
    pub type Sums = [f32; 4];

    /// The sums of `ROWS` rows with the table's row at `table`, for f of that parity.
    ///
    /// # Safety
    /// `table` is the start of a row of a table of K terms, complete before the last barrier.
    #[inline(always)]
    pub unsafe fn sums<const K: usize, const ROWS: usize>(
        rows: &[Folded<K>; ROWS],
        parity: usize,
        table: Shared<f32>,
    ) -> [Sums; ROWS] {
        let mut sums = [[0f32; 4]; ROWS];
        unroll!(v < K / 2, {
            let mut factors = [0f32; 4];
            // SAFETY: 2K numbers a row, K even; rows start on 16-byte boundaries.
            unsafe { table.load_16(4 * v as u32, &mut factors) };
            unroll!(q < 4, {
                let i = 4 * v + q;
                unroll!(row < ROWS, {
                    if i < K {
                        sums[row][i % 2] = factors[q].fma(rows[row].cos[parity][i], sums[row][i % 2]);
                    } else {
                        let j = i - K + 1;
                        sums[row][2 + j % 2] = factors[q].fma(rows[row].sin[parity][j - 1], sums[row][2 + j % 2]);
                    }
                });
            });
        });
        sums
    }

    /// The transforms of `ROWS` rows: each component to `put(row, component, value)`.
    ///
    /// # Safety
    /// `table` is the folding's table, of K terms, complete before the last barrier.
    #[inline(always)]
    pub unsafe fn transform<const EVEN: bool, const K: usize, const ROWS: usize>(
        folding: &Folding,
        table: Shared<f32>,
        rows: &[Folded<K>; ROWS],
        mut put: impl FnMut(usize, u32, f32),
    ) {
        let (n, last) = (folding.n, folding.last());
        let mut f = 0;
        while f <= last {
            unroll!(parity < if EVEN { 2 } else { 1 }, {
                if f <= last {
                    // Opaque: else a register is kept for the address of each component of each row.
                    let here = opaque(f);
                    // SAFETY: row f ≤ last of the table.
                    let sums = unsafe { sums::<K, ROWS>(rows, parity, table.offset(f * 2 * K as u32)) };
                    unroll!(row < ROWS, {
                        components(
                            n,
                            here,
                            sums[row],
                            #[inline(always)]
                            |component, value| put(row, component, value),
                        );
                    });
                }
                f += 1;
            });
        }
    }

    /// The components that the sums of f give, each to `put(component, value)`.
    #[inline(always)]
    pub fn components(n: u32, f: u32, [ce, co, se, so]: Sums, mut put: impl FnMut(u32, f32)) {
        put(f, ce + co);
        if f > 0 && 2 * f != n {
            put(n - f, se + so);
        }
        let mirror = (n / 2).wrapping_sub(f);
        if n.is_multiple_of(4) && mirror != f {
            put(mirror, ce - co);
            if f > 0 {
                put(n - mirror, so - se);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;

    #[test]
    fn every_component_comes_of_one_f() {
        for n in 1..70 {
            let folding = Folding::new(1, n);
            let mut seen = vec![0; n as usize];
            for f in 0..=folding.last() {
                device::components(n, f, [0.0; 4], |component, _| seen[component as usize] += 1);
            }
            assert!(seen.iter().all(|&count| count == 1), "{n}: {seen:?}");
        }
    }
}
