//! How [`volume_fft`](crate::volume_fft) stores a spectrum: a slot of the lines (fo, fr) a thread, fo = 0, 1, ….
//!
//! ```text
//! high = f16(X),  low = f16(X − high)          low in strict lines, and in slot 1 for fp = 0 in the others
//! ```
//!
//! The lines of one fr follow each other, and so do the second words of fr = 0, from that of fo = 1 on; those of fo = 0 come before, fr after
//! fr. Where all lines are strict, second words lie as first ones do. See [`Spectrum::strict_index`](crate::spectrum::Spectrum::strict_index).

pub mod device {
    //! The device code.
    use cuda_std::global::GlobalMut;
    use cuda_std::unroll;

    use crate::short_dft::device::Complex;
    use crate::spectrum::Spectrum;
    use crate::spectrum_store::device::{left, rounded};
    use crate::volume_fft::VolumeFft;

    /// Where a thread stores the coefficients of one slot of the lines (fo, fr), fo = 0, 1, ….
    pub struct Store {
        /// The slot in line (0, fr), and in the lines' second words.
        high: GlobalMut<u32>,
        low: GlobalMut<u32>,
        /// Words from one fo to the next.
        step: u64,
        /// Whether all these lines are strict.
        pub strict: bool,
        /// Words from the second word of fo = 0 to that of 1, if they are.
        second: u64,
        /// fr = 0.
        first: bool,
        slot: u32,
    }

    impl Store {
        /// Of this slot of that row.
        #[inline(always)]
        pub fn new(p: &VolumeFft, s: &Spectrum, row: u32, fr: u32, slot: u32) -> Self {
            let (index, strict) = if s.all_strict != 0 { (s.line(0, fr), true) } else { (fr, fr == 0) };
            let step = s.line_words();
            Self {
                high: p.high.offset(s.place(s.line(0, fr), row, slot)),
                low: p.low.offset(s.place(index, row, slot)),
                step,
                strict,
                // The lines of fr = 0 follow those of fo = 0, where not all are strict.
                second: if s.all_strict != 0 { step } else { s.half() as u64 * step },
                first: fr == 0,
                slot,
            }
        }

        /// Of lines that are strict for fo = 0 alone.
        ///
        /// # Safety
        /// The slot is this thread's, and not slot 0 or 1 of its row.
        #[inline(always)]
        pub unsafe fn plain<const N: usize>(&self, z: &[Complex; N]) {
            let mut at = self.high;
            // SAFETY: the caller's promise.
            unsafe {
                unroll!(fo < N, at most 40, {
                    let value = [z[fo].re, z[fo].im];
                    let high = rounded(value);
                    if fo != 0 {
                        at = at.offset(self.step);
                    }
                    at.store(0, high);
                    if fo == 0 {
                        self.low.store(0, left(value, high));
                    }
                });
            }
        }

        /// Of all lines.
        ///
        /// # Safety
        /// The slot is this thread's.
        #[inline(always)]
        pub unsafe fn careful<const N: usize>(&self, z: &[Complex; N]) {
            let (mut high_at, mut low_at) = (self.high, self.low);
            // Slot 1 is a second word of slot 0 where lines have none.
            let spare = self.slot == 1;
            // SAFETY: the caller's promise.
            unsafe {
                unroll!(fo < N, at most 40, {
                    let mean = fo == 0 && self.first && self.slot < 2;
                    let value = if mean { [0.0; 2] } else { [z[fo].re, z[fo].im] };
                    let high = rounded(value);
                    let low = left(value, high);
                    if fo != 0 {
                        high_at = high_at.offset(self.step);
                        low_at = low_at.offset(if fo == 1 { self.second } else { self.step });
                    }
                    if fo == 0 || self.strict {
                        high_at.store(0, if spare { 0 } else { high });
                        low_at.store(0, if spare { 0 } else { low });
                    } else {
                        high_at.store(0, if spare { low } else { high });
                    }
                });
            }
        }
    }
}
