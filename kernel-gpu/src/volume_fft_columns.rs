//! How [`volume_fft`](crate::volume_fft) reads x: two columns a thread.
//!
//! ```text
//! z[n] = x[d, n, w] + i·x[d, n, w + 1],  n < D1          0 where there is no column
//! ```
//!
//! Two neighbours are one load, where all pairs lie on their boundaries; else each element is one.

pub mod device {
    //! The device code.
    use cuda_std::global::Global;
    use cuda_std::unroll;

    use crate::element::Tensor;
    use crate::opaque::opaque;
    use crate::short_dft::device::Complex;

    /// Two columns along half, neighbours along pair.
    pub struct Columns {
        /// The first element, in its volume.
        pub first: u32,
        /// Columns from there to the end of the row: 0, 1, or more.
        pub count: u32,
        /// Elements of a column.
        pub d1: u32,
        /// Elements of a row.
        pub d2: u32,
    }

    impl Columns {
        /// The columns as real and imaginary parts; 0 where there are none.
        ///
        /// # Safety
        /// The volume has them.
        #[inline(always)]
        pub unsafe fn read<const N: usize>(&self, x: Tensor<f32>) -> [Complex; N] {
            let mut points = [Complex::ZERO; N];
            if self.count == 0 {
                return points;
            }
            let pair = if x.is_narrow() { 4 } else { 8 };
            let paired = self.d2.is_multiple_of(2) && x.address().is_multiple_of(pair);
            let (mut at, step) = (x.offset(self.first as u64).address(), opaque(self.d2) as u64 * (pair / 2));
            // SAFETY: the caller's promise; pairs lie on their boundaries.
            unsafe {
                if paired && !x.is_narrow() {
                    unroll!(n < N, at most 40, {
                        if n != 0 {
                            at = at.wrapping_add(step);
                        }
                        if 2 * n < N || (n as u32) < self.d1 {
                            points[n] = Complex::from_word(Global::from_address(at).load(0));
                        }
                    });
                } else if paired {
                    let mut bits = [0u32; N];
                    unroll!(n < N, at most 40, {
                        if n != 0 {
                            at = at.wrapping_add(step);
                        }
                        if 2 * n < N || (n as u32) < self.d1 {
                            bits[n] = Global::from_address(at).load(0);
                        }
                    });
                    unroll!(n < N, at most 40, {
                        let of = |bits: u32| x.widen::<true>(bits);
                        points[n] = Complex { re: of(bits[n] & 0xffff), im: of(bits[n] >> 16) };
                    });
                } else {
                    let mut index = self.first as u64;
                    unroll!(n < N, at most 40, {
                        if 2 * n < N || (n as u32) < self.d1 {
                            if n != 0 {
                                index += self.d2 as u64;
                            }
                            points[n].re = x.load(index);
                            points[n].im = if self.count > 1 { x.load(index + 1) } else { 0.0 };
                        }
                    });
                }
            }
            points
        }
    }
}
