//! From the real components of a transform to the words of a spectrum.
//!
//! ```text
//! X_{±fo,fr,±fp} = (Co ∓ i·So)(Cr − i·Sr)(Cp ∓ i·Sp)       multiplied out: eight real components, four coefficients
//! high = f16(X·2^−e),  low = f16(X·2^−e − high)              e: a multiple of 8 with Σ|x| ≤ 2^(e+14)
//! ```
//!
//! A **unit** is two neighbouring slots of a row, one 64-bit store: 0 holds fp = 0 and, in lines that are not strict, its low
//! part; 1 holds fp = N2/2; u ≥ 2 holds fp = ±(u − 1).

use crate::spectrum::{EMPTY, NOT_FINITE, ROW_BITS, Spectrum};

/// e of a volume with this Σ|x|, rounded as it may be.
#[inline(always)]
pub fn exponent(absolute: f32) -> i32 {
    if absolute == 0.0 {
        return EMPTY;
    }
    // Room for the rounding of a sum of many.
    let bits = (absolute * 1.0078125).to_bits();
    let biased = (bits >> 23) as i32;
    if biased == 255 {
        return NOT_FINITE;
    }
    // Σ|x| < 2^(biased − 126); 2^−e has to be a normal number.
    let e = (biased - 126 - ROW_BITS + 7) & !7;
    e.clamp(-120, 120)
}

/// 2^−e, of an e that [`exponent`] gives.
#[inline(always)]
pub fn scale(exponent: i32) -> f32 {
    match exponent {
        EMPTY => 0.0,
        NOT_FINITE => 1.0,
        _ => f32::from_bits(((127 - exponent) as u32) << 23),
    }
}

/// What one unit of one row of a line's frequencies ±fo is made of.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Its number.
    pub index: u32,
    /// fp, or None where its slots stay 0.
    pub frequency: Option<u32>,
}

impl Unit {
    /// Units of a row.
    #[inline(always)]
    pub const fn count(spectrum: &Spectrum) -> u32 {
        spectrum.slots() / 2
    }

    /// Unit `index` of a row.
    #[inline(always)]
    pub const fn new(index: u32, spectrum: &Spectrum) -> Self {
        Self { index, frequency: spectrum.frequency(2 * index) }
    }

    /// Whether fp has a sine: the unit holds ±fp.
    #[inline(always)]
    pub const fn is_pair(&self) -> bool {
        self.index >= 2 && self.frequency.is_some()
    }
}

pub mod device {
    //! The device code.
    use cuda_std::convert::F16x2;
    use cuda_std::global::GlobalMut;

    use super::*;

    /// The components of one fo: (cosine, sine) along outer of the columns (half, pair) = (C, C), (S, C), (C, S), (S, S).
    pub type Components = [[f32; 2]; 4];

    /// (re, im) of fp and of −fp, for fo (`sign` 1) or −fo (`sign` −1).
    #[inline(always)]
    pub fn coefficients(components: &Components, sign: f32) -> [[f32; 2]; 2] {
        let [[ccc, scc], [csc, ssc], [ccs, scs], [css, sss]] = *components;
        let (even_re, odd_re) = (ccc - sign * ssc, css + sign * scs);
        let (even_im, odd_im) = (csc + sign * scc, ccs - sign * sss);
        [[even_re - odd_re, -even_im - odd_im], [even_re + odd_re, odd_im - even_im]]
    }

    /// Where a row of a launch goes.
    #[derive(Clone, Copy)]
    pub struct Store {
        /// See [`Spectrum`].
        pub high: GlobalMut<u32>,
        /// See [`Spectrum`].
        pub low: GlobalMut<u32>,
        /// The row of each line.
        pub row: u32,
    }

    /// Where a unit of that row goes in the lines (±fo, fr); fo moves on by [`Self::advance`].
    pub struct UnitStore<'a> {
        spectrum: &'a Spectrum,
        store: Store,
        fo: u32,
        fr: u32,
        unit: Unit,
        /// The unit in lines (fo, fr) and (N0 − fo, fr).
        lines: [GlobalMut<u64>; 2],
        /// Bytes from one fo to the next.
        stride: u64,
        /// Whether the lines of this fr are all strict.
        strict: bool,
    }

    impl<'a> UnitStore<'a> {
        /// The unit of the lines (±fo, fr).
        #[inline(always)]
        pub fn new(spectrum: &'a Spectrum, store: Store, (fo, fr): (u32, u32), unit: Unit) -> Self {
            let units = spectrum.line_words() / 2;
            let line = pairs(store.high).offset(place(spectrum, store.row, spectrum.line(0, fr), unit));
            let lines = [line.offset(fo as u64 * units), line.offset((spectrum.n()[0] - fo) as u64 * units)];
            let strict = spectrum.all_strict != 0 || fr == 0;
            Self { spectrum, store, fo, fr, unit, lines, stride: 8 * units, strict }
        }

        /// On to the lines ±(fo + by).
        #[inline(always)]
        pub fn advance(&mut self, by: u32) {
            let bytes = by as u64 * self.stride;
            self.fo += by;
            self.lines[0] = GlobalMut::from_address(self.lines[0].address().wrapping_add(bytes));
            self.lines[1] = GlobalMut::from_address(self.lines[1].address().wrapping_sub(bytes));
        }

        /// Stores the unit of the lines ±fo, given scaled components.
        ///
        /// # Safety
        /// `high` and `low` hold the spectrum's words, fo ≤ N0/2, and no other thread accesses these units.
        #[inline(always)]
        pub unsafe fn both(&self, components: &Components) {
            let (fo, n) = (self.fo, self.spectrum.n()[0]);
            // SAFETY: the caller's promise.
            unsafe {
                self.one(fo, self.lines[0], coefficients(components, 1.0));
                if fo > 0 && 2 * fo != n {
                    self.one(n - fo, self.lines[1], coefficients(components, -1.0));
                }
            }
        }

        #[inline(always)]
        unsafe fn one(&self, fo: u32, line: GlobalMut<u64>, values: [[f32; 2]; 2]) {
            let (unit, paired) = (self.unit, self.unit.is_pair());
            let present = unit.frequency.is_some() && (fo | self.fr | unit.index) != 0;
            let first = if present { rounded(values[0]) } else { 0 };
            let mut second = if paired { rounded(values[1]) } else { 0 };
            let strict = self.strict || fo == 0;
            if strict || unit.index == 0 {
                let low = if present { left(values[0], first) } else { 0 };
                if let (true, Some(index)) = (strict, self.spectrum.strict_index(fo, self.fr)) {
                    let low = pair(low, if paired { left(values[1], second) } else { 0 });
                    let at = place(self.spectrum, self.store.row, index, unit);
                    // SAFETY: the unit lies in its row; rows are multiples of 8 words.
                    unsafe { pairs(self.store.low).store(at, low) };
                } else {
                    second = low;
                }
            }
            // SAFETY: as above.
            unsafe { line.store(0, pair(first, second)) };
        }
    }

    /// Where a unit of a row of a line lies, in units.
    #[inline(always)]
    fn place(spectrum: &Spectrum, row: u32, line: u32, unit: Unit) -> u64 {
        spectrum.place(line, row, 2 * unit.index) / 2
    }

    /// A coefficient as a word.
    #[inline(always)]
    pub fn rounded([re, im]: [f32; 2]) -> u32 {
        F16x2::from_f32(re, im).to_bits()
    }

    /// What rounding to `word` left.
    #[inline(always)]
    pub fn left([re, im]: [f32; 2], word: u32) -> u32 {
        let (high_re, high_im) = F16x2::from_bits(word).to_halves();
        rounded([re - high_re.to_f32(), im - high_im.to_f32()])
    }

    #[inline(always)]
    const fn pairs(words: GlobalMut<u32>) -> GlobalMut<u64> {
        GlobalMut::from_address(words.address())
    }

    #[inline(always)]
    const fn pair(first: u32, second: u32) -> u64 {
        first as u64 | (second as u64) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_bound_the_sum_and_are_as_small_as_they_may() {
        for (sum, e) in [
            (0.0, EMPTY),
            (f32::INFINITY, NOT_FINITE),
            (f32::NAN, NOT_FINITE),
            (16000.0, 0),
            (16384.0, 8),
            (1.0, -8),
            (1e-30, -112),
        ] {
            assert_eq!(exponent(sum), e, "{sum:e}");
        }
        let mut sum = f32::MIN_POSITIVE;
        while sum < f32::MAX / 2.0 {
            let e = exponent(sum);
            assert_eq!(e % 8, 0);
            assert!(scale(e).is_normal());
            assert!(f64::from(sum) <= f64::powi(2.0, e + ROW_BITS), "{sum:e} {e}");
            assert!(e == -120 || f64::from(sum) > f64::powi(2.0, e - 8 + ROW_BITS) * 0.98, "{sum:e} {e}");
            sum *= 1.37;
        }
    }
}
