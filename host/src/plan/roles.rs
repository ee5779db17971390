//! Which axis plays which part in the spectral way.
//!
//! ```text
//! (D, H, W), axes where input and kernel are both 1 moved to the front  →  (outer, half, pair)
//! ```
//!
//! Such axes may be moved without touching a tensor: its elements lie in the same order.

/// The axes by their roles: that of outer, half and pair.
pub(super) fn roles(input: [u32; 3], kernel: [u32; 3]) -> [usize; 3] {
    let (mut order, mut place) = ([0; 3], 0);
    for is_flat in [true, false] {
        for axis in (0..3).filter(|&axis| ((input[axis], kernel[axis]) == (1, 1)) == is_flat) {
            order[place] = axis;
            place += 1;
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::roles;

    #[test]
    fn axes_of_one_element_and_one_tap_move_to_the_front() {
        assert_eq!(roles([4, 5, 6], [1, 2, 3]), [0, 1, 2]);
        assert_eq!(roles([1, 5, 6], [1, 2, 3]), [0, 1, 2]);
        assert_eq!(roles([4, 1, 6], [3, 1, 2]), [1, 0, 2]);
        assert_eq!(roles([4, 5, 1], [3, 2, 1]), [2, 0, 1]);
        assert_eq!(roles([1, 5, 1], [1, 2, 1]), [0, 2, 1]);
        assert_eq!(roles([7, 1, 1], [1, 1, 1]), [1, 2, 0]);
        assert_eq!(roles([1, 1, 1], [1, 1, 1]), [0, 1, 2]);
        // One element and several taps: an axis like any other.
        assert_eq!(roles([4, 1, 6], [3, 2, 2]), [0, 1, 2]);
    }
}
