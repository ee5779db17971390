//! Operations on the bits of a register that Rust's operators need several instructions for.

/// Any four of the eight bytes of `low` and `high` (`prmt.b32`): byte i of the result is number `selector >> 4i & 7`, where
/// 0 to 3 are the bytes of `low` and 4 to 7 those of `high`, lowest first. Bit 3 of a digit must be 0.
#[inline(always)]
pub fn permute_bytes(low: u32, high: u32, selector: u32) -> u32 {
    #[cfg(target_arch = "nvptx64")]
    {
        let d: u32;
        // SAFETY: arithmetic on registers.
        unsafe {
            core::arch::asm!("prmt.b32 {0}, {1}, {2}, {3};", out(reg32) d, in(reg32) low, in(reg32) high,
                in(reg32) selector, options(pure, nomem, nostack))
        };
        d
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        let bytes = u64::from(low) | u64::from(high) << 32;
        let byte = |i: u32| (bytes >> (8 * (selector >> (4 * i) & 7)) & 0xff) as u32;
        byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbered_from_the_lowest() {
        let (low, high) = (0x3322_1100, 0x7766_5544);
        assert_eq!(permute_bytes(low, high, 0x3210), low);
        assert_eq!(permute_bytes(low, high, 0x7654), high);
        assert_eq!(permute_bytes(low, high, 0x5410), 0x5544_1100);
        assert_eq!(permute_bytes(low, high, 0x7632), 0x7766_3322);
    }
}
