//! Which axis plays which part in the spectral way.
//!
//! ```text
//! (D, H, W), axes where input and kernel are both 1 moved to the front  →  (outer, half, pair)
//! (1, 1, L) with a long kernel  →  (1, L, 1)
//! ```
//!
//! Such axes may be moved without touching a tensor: its elements lie in the same order. The pair axis is the one along
//! which the taps are summed for each frequency, so a long kernel alone on it goes to the half axis, where all taps are
//! folded once; then a line has one frequency, and there are more lines.

use kernel_gpu::conv_shape::ConvShape;

/// The longest kernel along a single axis that stays on the pair axis: its folded taps still leave room in shared memory for
/// two tiles of input channels, and past it a frequency's sum over the taps costs more than its products.
const LONGEST_PAIR_KERNEL: u32 = 20;

/// The shape with its axes in the order outer, half, pair.
pub(super) fn with_roles(shape: ConvShape) -> ConvShape {
    let (mut input, mut kernel) = ([1; 3], [1; 3]);
    let mut role = 3;
    for axis in (0..3).rev() {
        let extents = (shape.input[axis], shape.kernel[axis]);
        if extents != (1, 1) {
            role -= 1;
            (input[role], kernel[role]) = extents;
        }
    }
    if role == 2 && kernel[2] > LONGEST_PAIR_KERNEL {
        (input, kernel) = ([1, input[2], 1], [1, kernel[2], 1]);
    }
    ConvShape { input, kernel, ..shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(input: [u32; 3], kernel: [u32; 3]) -> ([u32; 3], [u32; 3]) {
        let shape = with_roles(ConvShape { batch: 2, in_channels: 3, out_channels: 4, input, kernel });
        (shape.input, shape.kernel)
    }

    #[test]
    fn axes_of_one_element_and_one_tap_move_to_the_front() {
        assert_eq!(roles([4, 5, 6], [1, 2, 3]), ([4, 5, 6], [1, 2, 3]));
        assert_eq!(roles([1, 5, 6], [1, 2, 3]), ([1, 5, 6], [1, 2, 3]));
        assert_eq!(roles([4, 1, 6], [3, 1, 2]), ([1, 4, 6], [1, 3, 2]));
        assert_eq!(roles([4, 5, 1], [3, 2, 1]), ([1, 4, 5], [1, 3, 2]));
        assert_eq!(roles([1, 5, 1], [1, 2, 1]), ([1, 1, 5], [1, 1, 2]));
        assert_eq!(roles([7, 1, 1], [1, 1, 1]), ([1, 1, 7], [1, 1, 1]));
        assert_eq!(roles([1, 1, 1], [1, 1, 1]), ([1, 1, 1], [1, 1, 1]));
        // One element and several taps: an axis like any other.
        assert_eq!(roles([4, 1, 6], [3, 2, 2]), ([4, 1, 6], [3, 2, 2]));
    }

    #[test]
    fn a_long_kernel_alone_is_folded_whole() {
        assert_eq!(roles([1, 1, 90], [1, 1, 20]), ([1, 1, 90], [1, 1, 20]));
        assert_eq!(roles([1, 1, 90], [1, 1, 21]), ([1, 90, 1], [1, 21, 1]));
        assert_eq!(roles([90, 1, 1], [21, 1, 1]), ([1, 90, 1], [1, 21, 1]));
        assert_eq!(roles([1, 2, 90], [1, 1, 21]), ([1, 2, 90], [1, 1, 21]));
    }
}
