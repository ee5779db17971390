//! What a block of [`volume_fft`](crate::volume_fft) holds in its shared memory.
//!
//! ```text
//! volume    [element along outer][element, then frequency, along pair][fr]     complex, 8 bytes; even elements, then odd ones
//! boxes     [fr], then [frequency along pair]                                  complex: the spectrum of a box of ones, axis by axis
//! zero      one                                                                complex: what there is of a slot without a frequency
//! sums      Σx, then Σ|x|, of each warp                                        f64, f32
//! ```
//!
//! A row along pair holds its frequencies in the order of the slots: 0, N2/2 where N2 is even, then ±1, ±2, …. Room for the fr of the longest
//! transform is always there, so that the places of a row and of a column along half are constants in the code.
//!
//! **Bank conflicts.** Lanes go along the even or the odd half of a row in the first pass, [`PITCH`] apart, which is odd; from fr to fr in the second,
//! and on into the next plane, which starts where the banks of the last fr are followed by others; in the third along sixteen neighbouring places of one fr, or
//! eight of two, where some meet.

use crate::short_dft::{LENGTHS, is_short};
use crate::spectrum::Spectrum;

/// Threads of a block at most, and pairs of columns of a volume: a thread transforms one.
pub const MOST_THREADS: u32 = 512;
/// Warps of them.
pub const MOST_WARPS: u32 = MOST_THREADS / 32;
/// Bytes of a complex value.
const COMPLEX: u32 = 8;
/// Complex values from one place along pair to the next: the fr of the longest transform.
pub const PITCH: u32 = 19;
const _: () = {
    let mut i = 0;
    while i < LENGTHS.len() {
        assert!(LENGTHS[i] / 2 < PITCH);
        i += 1;
    }
};

/// Elements that each column of a transform of N has, whatever its axis: the kernel does not ask for them.
pub const fn present(n: u32) -> u32 {
    if n > 16 { n - 8 } else { n.div_ceil(2) }
}

/// Where things lie, in bytes. `#[repr(C)]`, part of the parameters: the host works it out once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeFftLayout {
    /// Complex values from one element along outer to the next.
    pub plane: u32,
    /// The boxes.
    pub boxes: u32,
    /// The zero.
    pub zero: u32,
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
    /// The layout for these extents, of at most `limit` bytes: None where an axis has a length that there is no transform of or too few
    /// elements ([`present`]), where there are more pairs of columns than threads, or where the volume does not fit.
    pub const fn design(spectrum: &Spectrum, limit: u32) -> Option<Self> {
        let (d, n) = (spectrum.shape.input, spectrum.n());
        if !(is_short(n[0]) && is_short(n[1]) && is_short(n[2])) {
            return None;
        }
        if d[0] < present(n[0]) || d[1] < present(n[1]) || d[2] < present(n[2]) {
            return None;
        }
        let pairs = d[0] * d[2].div_ceil(2);
        if pairs > MOST_THREADS {
            return None;
        }
        let threads = pairs.next_multiple_of(32);
        let half = spectrum.half();
        let plane = n[2] * PITCH + (16 + half - n[2] * PITCH % 16) % 16;
        let boxes = d[0] * plane * COMPLEX;
        let zero = boxes + (half + n[2]) * COMPLEX;
        let sums = zero + COMPLEX;
        let bytes = (sums + threads / 32 * 12).next_multiple_of(16);
        let volumes = 1;
        if bytes <= limit { Some(Self { plane, boxes, zero, sums, bytes, threads, volumes }) } else { None }
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
        assert_eq!((layout.plane, layout.threads), (691, 256));
        for (d, k) in [([16, 32, 32], [3, 3, 3]), ([7, 10, 12], [2, 3, 3]), ([8, 16, 16], [1, 1, 1])] {
            let s = spectrum(d, k);
            let layout = VolumeFftLayout::design(&s, 227 << 10).unwrap();
            let rows = s.n()[2] * PITCH;
            assert!(layout.plane % 16 == s.half() % 16 && (rows..rows + 16).contains(&layout.plane), "{layout:?}");
            assert!(layout.boxes == 8 * d[0] * layout.plane && layout.zero < layout.sums && layout.sums < layout.bytes);
        }
        // A length without a transform, a kernel longer than its axis, one of ten taps, too many columns, no room.
        assert_eq!(VolumeFftLayout::design(&spectrum([16, 33, 32], [5, 5, 5]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([2, 32, 32], [7, 5, 5]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([16, 27, 32], [5, 10, 5]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([34, 8, 36], [1, 1, 1]), 227 << 10), None);
        assert_eq!(VolumeFftLayout::design(&spectrum([16, 32, 32], [5, 5, 5]), 40 << 10), None);
    }
}
