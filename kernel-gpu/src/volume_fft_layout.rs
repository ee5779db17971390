//! What a block of [`volume_fft`](crate::volume_fft) holds in its shared memory.
//!
//! ```text
//! volume    [fr][element along outer][element, then frequency, along pair]     complex, 8 bytes; even elements, then odd ones
//! boxes     [fr], then [frequency along pair]                                  complex: the spectrum of a box of ones, axis by axis
//! sums      Σx, then Σ|x|, of each warp                                        f64, f32
//! ```
//!
//! A row along pair holds its frequencies in the order of the slots: 0, N2/2 where N2 is even, then ±1, ±2, ….
//!
//! **Bank conflicts.** Lanes go along the even or the odd half of a row in the first pass; from row to row in the second, where rows are an odd number of
//! complex values long; along eight neighbouring places
//! of two fr, or sixteen of one, in the third: planes are 8 modulo 16 values apart.

use crate::short_dft::is_short;
use crate::spectrum::Spectrum;

/// Threads of a block at most, and pairs of columns of a volume: a thread transforms one.
pub const MOST_THREADS: u32 = 512;
/// Bytes of a complex value.
const COMPLEX: u32 = 8;

/// Where things lie, in bytes. `#[repr(C)]`, part of the parameters: the host works it out once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeFftLayout {
    /// Complex values from one row along pair to the next.
    pub row: u32,
    /// Complex values from one fr to the next.
    pub plane: u32,
    /// The boxes.
    pub boxes: u32,
    /// The sums of the warps.
    pub sums: u32,
    /// All of a volume, a multiple of 16.
    pub bytes: u32,
    /// Threads of a volume.
    pub threads: u32,
    /// Volumes of a block.
    pub volumes: u32,
}

impl VolumeFftLayout {
    /// The layout for these extents, of at most `limit` bytes: None where an axis has a length that there is no transform of, or
    /// the volume does not fit.
    pub const fn design(spectrum: &Spectrum, limit: u32) -> Option<Self> {
        let (d, n) = (spectrum.shape.input, spectrum.n());
        if !(is_short(n[0]) && is_short(n[1]) && is_short(n[2])) {
            return None;
        }
        // Elements below N/2 are there in every column: the kernel does not ask.
        if 2 * d[0] < n[0] || 2 * d[1] < n[1] || 2 * d[2] < n[2] {
            return None;
        }
        let pairs = d[0] * d[2].div_ceil(2);
        if pairs > MOST_THREADS {
            return None;
        }
        let threads = pairs.next_multiple_of(32);
        let row = n[2] | 1;
        let plane = (d[0] * row + 8).next_multiple_of(16) - 8;
        let boxes = spectrum.half() * plane * COMPLEX;
        let sums = boxes + (spectrum.half() + n[2]) * COMPLEX;
        let bytes = (sums + threads / 32 * 12).next_multiple_of(16);
        let volumes = 1;
        if bytes <= limit { Some(Self { row, plane, boxes, sums, bytes, threads, volumes }) } else { None }
    }
}

/// Where a row along pair keeps the frequency of a slot, if it holds one: see [`Spectrum::frequency`]. Slot 1 holds what rounding
/// left of 0.
#[inline(always)]
pub const fn place(n2: u32, slot: u32) -> Option<u32> {
    let even = n2.is_multiple_of(2) as u32;
    if slot < 2 {
        Some(0)
    } else if slot < 4 {
        if slot == 2 && even == 1 { Some(1) } else { None }
    } else if slot - 3 + even < n2 {
        Some(slot - 3 + even)
    } else {
        None
    }
}

/// The place of frequency k of N2 in its row.
#[inline(always)]
pub const fn place_of(n2: usize, k: usize) -> usize {
    let even = 1 - n2 % 2;
    if k == 0 {
        0
    } else if 2 * k == n2 {
        1
    } else if 2 * k < n2 {
        2 * k - 1 + even
    } else {
        2 * (n2 - k) + even
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;
    use crate::conv_shape::ConvShape;

    fn spectrum(input: [u32; 3], kernel: [u32; 3]) -> Spectrum {
        Spectrum { shape: ConvShape { batch: 2, in_channels: 3, out_channels: 4, input, kernel }, all_strict: 0 }
    }

    #[test]
    fn slots_and_rows_hold_the_same_frequencies() {
        for n in 1..50 {
            let s = spectrum([1, 1, n], [1, 1, 1]);
            let mut seen = vec![false; n as usize];
            for slot in 0..s.slots() {
                let place = place(n, slot);
                match s.frequency(slot) {
                    Some(f) => {
                        assert_eq!(place, Some(place_of(n as usize, f as usize) as u32), "n {n}, slot {slot}");
                        assert!(!std::mem::replace(&mut seen[place.unwrap() as usize], true));
                    }
                    None => assert_eq!(place, if slot == 1 { Some(0) } else { None }, "n {n}, slot {slot}"),
                }
            }
            assert!(seen.iter().all(|&seen| seen));
        }
    }

    #[test]
    fn two_volumes_of_kernelbench_77_share_a_multiprocessor() {
        let layout = VolumeFftLayout::design(&spectrum([16, 32, 32], [5, 5, 5]), 227 << 9).unwrap();
        assert_eq!((layout.row, layout.plane, layout.threads), (37, 600, 256));
        for (d, k) in [([16, 32, 32], [3, 3, 3]), ([7, 10, 12], [2, 3, 3]), ([8, 16, 16], [1, 1, 1])] {
            let s = spectrum(d, k);
            let layout = VolumeFftLayout::design(&s, 227 << 10).unwrap();
            assert!(layout.row % 2 == 1 && layout.plane % 16 == 8 && layout.plane >= d[0] * layout.row, "{layout:?}");
            assert!(layout.plane < d[0] * layout.row + 16);
        }
        // A length without a transform, a kernel longer than its axis, too many columns, no room.
        assert_eq!(VolumeFftLayout::design(&spectrum([16, 33, 32], [5, 5, 5]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([2, 32, 32], [7, 5, 5]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([34, 8, 36], [1, 1, 1]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([16, 32, 32], [5, 5, 5]), 40 << 10), None);
    }
}
