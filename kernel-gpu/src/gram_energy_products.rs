//! The products of [`gram_energy`](crate::gram_energy): half a unit of Ĝ between the taps' spectra of its input channels, in two tf32 a factor.
//!
//! ```text
//! y_i = Σ_j Ĝ_ij·conj W_j:   Re y = Re W·Re Ĝ + Im W·Im Ĝ      −Im y = Im W·Re Ĝ − Re W·Im Ĝ
//! Re(W_i·y_i) = Re W_i·Re y_i + Im W_i·(−Im y_i)
//! ```
//!
//! of 16 j and 8 i, for 16 output channels c a tile: c on the rows of `mma.m16n8k8`, j along its sum, i on the columns. A lane holds the same
//! (c, i) of W as first operand, for I = J, and beside y, which is of rows c and columns i too.
//!
//! **Precision.** Each factor is a sum of two tf32, 22 bits; of the four products the one of both rests is left out. Products
//! with a rest come first, for on top of the others they would be rounded away. NaN and infinity in the W of a channel c reach that c alone, in Ĝ all.
//!
//! **Accumulation.** y over 16 j in the tensor cores; Re(W_i·y_i) is added to the caller's f32.

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::mma::m16n8k8_tf32;
    use cuda_std::unroll;

    /// Four values of a lane of 16 c by 8 i, real and imaginary parts: c = lane/4 + 8(n/2), i = 2(lane%4) + n%2.
    #[derive(Clone, Copy)]
    pub struct Taps {
        /// Real parts.
        pub re: [f32; 4],
        /// Imaginary parts.
        pub im: [f32; 4],
    }

    /// The same as two tf32, in the order of a product's first operand, whose columns are i = 0, 2, 4, 6, 1, 3, 5, 7.
    #[derive(Clone, Copy)]
    pub struct Weights {
        re: [[u32; 4]; 2],
        im: [[u32; 4]; 2],
    }

    /// Ĝ_ij of 8 j by 8 i as two tf32, in the order of the second operand, rows likewise.
    struct Pairs {
        re: [[u32; 2]; 2],
        im: [[u32; 2]; 2],
        minus_im: [[u32; 2]; 2],
    }

    /// A value as two tf32, the rest behind: together 22 bits, and for NaN and infinity at least the rest is NaN.
    ///
    /// Rounded by an addition to the bits and a mask, which `cvt` is too, with a test for NaN besides. A product does not see the
    /// low 13 bits of the rest.
    #[inline(always)]
    fn split(value: f32) -> [u32; 2] {
        let high = value.to_bits().wrapping_add(0x1000) & !0x1fff;
        [high, (value - f32::from_bits(high)).to_bits()]
    }

    impl Weights {
        /// Of no taps.
        pub const ZERO: Self = Self { re: [[0; 4]; 2], im: [[0; 4]; 2] };

        /// Of a lane's taps.
        #[inline(always)]
        pub fn of(taps: &Taps) -> Self {
            let mut weights = Self::ZERO;
            unroll!(n < 4, {
                let (re, im) = (split(taps.re[n]), split(taps.im[n]));
                // Rows lie side by side there, columns here.
                const TO: usize = n % 2 * 2 + n / 2;
                unroll!(part < 2, {
                    weights.re[part][TO] = re[part];
                    weights.im[part][TO] = im[part];
                });
            });
            weights
        }
    }

    impl Pairs {
        /// Of (re, im) of two neighbouring j.
        #[inline(always)]
        fn of(values: &[f32; 4]) -> Self {
            let mut pairs = Self { re: [[0; 2]; 2], im: [[0; 2]; 2], minus_im: [[0; 2]; 2] };
            unroll!(n < 2, {
                let (re, im) = (split(values[2 * n]), split(values[2 * n + 1]));
                unroll!(part < 2, {
                    pairs.re[part][n] = re[part];
                    pairs.im[part][n] = im[part];
                    pairs.minus_im[part][n] = im[part] ^ 0x8000_0000;
                });
            });
            pairs
        }
    }

    /// Re y and −Im y, of 16 c by 8 i.
    #[derive(Clone, Copy)]
    struct Sums {
        re: [f32; 4],
        minus_im: [f32; 4],
    }

    impl Sums {
        /// Adds the products of W's part `A` with the real parts of Ĝ's part `B`.
        #[inline(always)]
        fn add_real<const A: usize, const B: usize>(&mut self, w: &Weights, g: &Pairs) {
            self.re = m16n8k8_tf32(w.re[A], g.re[B], self.re);
            self.minus_im = m16n8k8_tf32(w.im[A], g.re[B], self.minus_im);
        }

        /// Adds those with the imaginary parts.
        #[inline(always)]
        fn add_imaginary<const A: usize, const B: usize>(&mut self, w: &Weights, g: &Pairs) {
            self.re = m16n8k8_tf32(w.im[A], g.im[B], self.re);
            self.minus_im = m16n8k8_tf32(w.re[A], g.minus_im[B], self.minus_im);
        }
    }

    /// Adds the products of W's part `A` and Ĝ's part `B` to each tile's sums, by turns: none waits for the one before.
    #[inline(always)]
    fn add<const A: usize, const B: usize, const N: usize>(sums: &mut [Sums; N], w: &[Weights; N], g: &Pairs) {
        unroll!(n < 2, {
            if n < N {
                sums[n].add_real::<A, B>(&w[n], g);
            }
        });
        unroll!(n < 2, {
            if n < N {
                sums[n].add_imaginary::<A, B>(&w[n], g);
            }
        });
    }

    /// Adds Re Σ_i W_i·y_i of 8 i and 16 j, for the lane's two c of each tile.
    #[inline(always)]
    pub fn multiply<const N: usize>(
        weights: &[[Weights; N]; 2],
        pairs: &[[f32; 4]; 2],
        taps: &[Taps; N],
        energies: &mut [[f32; 2]; N],
    ) {
        let mut sums = [Sums { re: [0.0; 4], minus_im: [0.0; 4] }; N];
        let pairs = [Pairs::of(&pairs[0]), Pairs::of(&pairs[1])];
        unroll!(step < 2, {
            add::<1, 0, N>(&mut sums, &weights[step], &pairs[step]);
            add::<0, 1, N>(&mut sums, &weights[step], &pairs[step]);
        });
        unroll!(step < 2, {
            add::<0, 0, N>(&mut sums, &weights[step], &pairs[step]);
        });
        unroll!(n < 2, {
            if n < N {
                unroll!(v < 4, {
                    let energy = taps[n].re[v].fma(sums[n].re[v], energies[n][v / 2]);
                    energies[n][v / 2] = taps[n].im[v].fma(sums[n].minus_im[v], energy);
                });
            }
        });
    }
}
