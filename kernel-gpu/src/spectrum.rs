//! The spectral way's frequencies: which there are, in which order they are stored, and how 16-bit numbers hold them.
//!
//! ```text
//! X_f[b,ci] = Σ_n x[b,ci,n]·e^(−2πi Σ_a f_a·n_a/N_a),      N = D + K − 1, the output's extents
//! ```
//!
//! of which [`gram_grid`](crate::gram_grid) says what the variance needs. The axes are called
//! *outer*, *half* and *pair* (0, 1, 2). x is real, so f = (fo, fr, fp) with fr ≤ N1/2 suffice, counted twice unless fr = 0
//! or 2·fr = N1. A **line** is the fp of one (fo, fr), a **row** the values of one (ci, b). Phases common to all ci do not
//! change |Z_f|: each axis of x and of w has its origin where that suits.
//!
//! **Slots.** A row of a line stores its frequencies in the order that the products take them, four a group; the rest is 0:
//!
//! ```text
//! 0: fp = 0   1: what rounding left of slot 0, in lines that are not strict   2: fp = N2/2, for even N2   3: –
//! 4, 5: fp = ±1   6, 7: fp = ±2   …   up to slots(), a multiple of 8;   f = (0, 0, 0) is stored as 0
//! ```
//!
//! Eight slots lie together, 32 bytes, of all rows one after another; then the next eight.
//!
//! **Rounding.** A slot is one word: real part (low half) and imaginary part as f16. Where a few large coefficients decide
//! (the planes fo = 0, fr = 0 and fp = 0, on which an input's mean lies), or everywhere on demand, a second word holds what
//! the first left: those lines are **strict**.
//!
//! **Scales.** All are powers of two, so exact. Row (ci, b) is stored as `X·2^−e[ci,b]` with Σ|x|·2^−e ≤ 2^14, e a multiple of 8, so
//! that it is nearly always the same for all images of a channel.

use crate::conv_shape::ConvShape;
use crate::opaque::opaque;

/// `e[ci,b]` of a volume of zeros: it takes no part in the maximum.
pub const EMPTY: i32 = -100_000;
/// e of a row that is not finite, or whose Σ|x| is past 2^128: above all others.
pub const NOT_FINITE: i32 = 50_000;
/// log2 of the bound of a stored coefficient.
pub const ROW_BITS: i32 = 14;
/// Channels in a tile of products.
pub const TILE: u32 = 16;

/// The extents by the roles of their axes. `#[repr(C)]`, part of the parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spectrum {
    /// The convolution; axes 0, 1, 2 are outer, half and pair. Its input channels are those of all groups; its kernel's extents, of taps with
    /// gaps, count these.
    pub shape: ConvShape,
    /// 1: every line is strict; 0: those of the planes fo = 0 and fr = 0.
    pub all_strict: u32,
}

impl Spectrum {
    /// The same, but [`opaque`](crate::opaque::opaque()): what follows from it is worked out where it is needed.
    #[inline(always)]
    pub fn opaque(&self) -> Self {
        let ConvShape { batch, in_channels, out_channels, input, kernel } = self.shape;
        let [batch, in_channels, out_channels] = [batch, in_channels, out_channels].map(opaque);
        let shape =
            ConvShape { batch, in_channels, out_channels, input: input.map(opaque), kernel: kernel.map(opaque) };
        Self { shape, all_strict: opaque(self.all_strict) }
    }

    /// N, the length of each axis' transform.
    #[inline(always)]
    pub const fn n(&self) -> [u32; 3] {
        self.shape.output()
    }

    /// The number of fr.
    #[inline(always)]
    pub const fn half(&self) -> u32 {
        self.n()[1] / 2 + 1
    }

    /// The number of pairs ±fp.
    #[inline(always)]
    pub const fn pairs(&self) -> u32 {
        (self.n()[2] - 1) / 2
    }

    /// Words of a row of a line.
    #[inline(always)]
    pub const fn slots(&self) -> u32 {
        (4 + 2 * self.pairs()).next_multiple_of(8)
    }

    /// Where a line keeps a slot of a row: groups of eight slots, in each all rows.
    #[inline(always)]
    pub const fn place(&self, line: u32, row: u32, slot: u32) -> u64 {
        line as u64 * self.line_words() + (slot / 8 * 8) as u64 * self.rows() as u64 + (8 * row + slot % 8) as u64
    }

    /// Words of a line.
    #[inline(always)]
    pub const fn line_words(&self) -> u64 {
        self.rows() as u64 * self.slots() as u64
    }

    /// Rows of a line: Cin·B, row ci·B + b.
    #[inline(always)]
    pub const fn rows(&self) -> u32 {
        self.shape.in_channels * self.shape.batch
    }

    /// All lines, in the order of (fr, fo).
    #[inline(always)]
    pub const fn lines(&self) -> u32 {
        self.n()[0] * self.half()
    }

    /// The number of line (fo, fr).
    #[inline(always)]
    pub const fn line(&self, fo: u32, fr: u32) -> u32 {
        fr * self.n()[0] + fo
    }

    /// (fo, fr) of a line.
    #[inline(always)]
    pub const fn frequencies(&self, line: u32) -> (u32, u32) {
        (rem(line, self.n()[0]), div(line, self.n()[0]))
    }

    /// Lines with a second word.
    #[inline(always)]
    pub const fn strict_lines(&self) -> u32 {
        if self.all_strict != 0 { self.lines() } else { self.half() + self.n()[0] - 1 }
    }

    /// Lines without.
    #[inline(always)]
    pub const fn plain_lines(&self) -> u32 {
        self.lines() - self.strict_lines()
    }

    /// The number of a line among the strict ones, if it is one.
    #[inline(always)]
    pub const fn strict_index(&self, fo: u32, fr: u32) -> Option<u32> {
        if self.all_strict != 0 {
            Some(self.line(fo, fr))
        } else if fo == 0 {
            Some(fr)
        } else if fr == 0 {
            Some(self.half() + fo - 1)
        } else {
            None
        }
    }

    /// The line at −f of all of a line's frequencies, if it is stored too and is another: in the planes fr = 0 and 2·fr = N1.
    #[inline(always)]
    pub const fn mirror_image(&self, line: u32) -> Option<u32> {
        let ((fo, fr), n) = (self.frequencies(line), self.n());
        if (fr == 0 || 2 * fr == n[1]) && fo != 0 && 2 * fo != n[0] { Some(line + n[0] - 2 * fo) } else { None }
    }

    /// How often the energies of a line with this fr count.
    #[inline(always)]
    pub const fn weight(&self, fr: u32) -> f32 {
        if fr == 0 || 2 * fr == self.n()[1] { 1.0 } else { 2.0 }
    }

    /// Where a row stores fp.
    #[inline(always)]
    pub const fn slot(&self, fp: u32) -> u32 {
        let n = self.n()[2];
        if fp == 0 {
            0
        } else if 2 * fp == n {
            2
        } else if fp <= self.pairs() {
            2 + 2 * fp
        } else {
            3 + 2 * (n - fp)
        }
    }

    /// Which fp a slot holds, if any.
    #[inline(always)]
    pub const fn frequency(&self, slot: u32) -> Option<u32> {
        let n = self.n()[2];
        if slot == 0 {
            Some(0)
        } else if slot == 2 && n.is_multiple_of(2) {
            Some(n / 2)
        } else if slot >= 4 && slot < 4 + 2 * self.pairs() {
            let j = slot / 2 - 1;
            Some(if slot.is_multiple_of(2) { j } else { n - j })
        } else {
            None
        }
    }

    /// Where the twiddles of an axis start, in entries (cos, sin): axis a has 2·N_a of them, of the angles π·m/N_a.
    #[inline(always)]
    pub const fn twiddle_offset(&self, axis: u32) -> u32 {
        let n = self.n();
        match axis {
            0 => 0,
            1 => 2 * n[0],
            _ => 2 * n[0] + 2 * n[1],
        }
    }
}

/// Twice the place of tap k of K from the kernel's middle: the angle of f is π·f·middle/N.
#[inline(always)]
pub const fn twice_centered(k: u32, kernel: u32) -> i32 {
    2 * k as i32 - (kernel as i32 - 1)
}

/// a / b, and 0 for b = 0: no path that panics.
#[inline(always)]
pub(crate) const fn div(a: u32, b: u32) -> u32 {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => 0,
    }
}
/// a / b and a mod b by one division without a branch; b = 0, which the host refuses, counts as 1.
#[inline(always)]
pub(crate) const fn div_rem(a: u32, b: u32) -> (u32, u32) {
    let quotient = a / if b == 0 { 1 } else { b };
    (quotient, a - quotient * b)
}
/// a mod b, and 0 for b = 0.
#[inline(always)]
pub(crate) const fn rem(a: u32, b: u32) -> u32 {
    match a.checked_rem(b) {
        Some(remainder) => remainder,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;

    fn spectrum(input: [u32; 3], kernel: [u32; 3], all_strict: u32) -> Spectrum {
        let shape = ConvShape { batch: 2, in_channels: 3, out_channels: 4, input, kernel };
        Spectrum { shape, all_strict }
    }

    #[test]
    fn slots_and_frequencies_are_inverse() {
        for n in 1..40 {
            let s = spectrum([2, 2, n], [1, 1, 1], 0);
            let mut seen = vec![false; s.slots() as usize];
            for fp in 0..n {
                let slot = s.slot(fp);
                assert_eq!(s.frequency(slot), Some(fp), "n {n}");
                assert!(!std::mem::replace(&mut seen[slot as usize], true));
            }
            assert_eq!((0..s.slots()).filter(|&slot| s.frequency(slot).is_some()).count(), n as usize);
        }
    }

    #[test]
    fn every_line_is_strict_or_not() {
        for (input, all) in [([5, 6, 7], 0), ([1, 6, 7], 0), ([5, 1, 7], 0), ([5, 6, 7], 1), ([1, 1, 1], 0)] {
            let s = spectrum(input, [1, 1, 1], all);
            let mut strict = vec![false; s.strict_lines() as usize];
            let mut plain = 0;
            for line in 0..s.lines() {
                let (fo, fr) = s.frequencies(line);
                assert!(fo < s.n()[0] && fr < s.half() && s.line(fo, fr) == line);
                match s.strict_index(fo, fr) {
                    Some(index) => assert!(!std::mem::replace(&mut strict[index as usize], true)),
                    None => plain += 1,
                }
            }
            assert!(strict.iter().all(|&seen| seen) && plain == s.plain_lines());
        }
    }

    #[test]
    fn mirror_images_come_in_pairs() {
        for input in [[5, 6, 7], [6, 5, 2], [1, 4, 3], [2, 1, 3]] {
            let s = spectrum(input, [1, 1, 1], 0);
            let [n0, n1, _] = s.n();
            for line in 0..s.lines() {
                let (fo, fr) = s.frequencies(line);
                let opposite = ((n0 - fo) % n0, (n1 - fr) % n1);
                let expected = (opposite.1 == fr && opposite.0 != fo).then(|| s.line(opposite.0, fr));
                assert_eq!(s.mirror_image(line), expected, "{input:?} {line}");
            }
        }
    }

    #[test]
    fn kernelbench_77() {
        let shape = ConvShape { batch: 16, in_channels: 64, out_channels: 128, input: [16, 32, 32], kernel: [5, 5, 5] };
        let s = Spectrum { shape, all_strict: 0 };
        assert_eq!((s.n(), s.half(), s.lines(), s.strict_lines()), ([20, 36, 36], 19, 380, 38));
        assert_eq!((s.pairs(), s.slots(), s.rows()), (17, 40, 1024));
        let total: f32 = (0..s.half()).map(|fr| s.weight(fr)).sum();
        assert_eq!(total, 36.0);
    }
}
