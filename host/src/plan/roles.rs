//! Which axis plays which part in the spectral way.
//!
//! ```text
//! (D, H, W), axes where input and kernel are both 1 moved to the front  →  (outer, half, pair)
//! ```
//!
//! Such axes may be moved without touching a tensor: its elements lie in the same order.

use kernel_gpu::conv_shape::ConvShape;

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
}
