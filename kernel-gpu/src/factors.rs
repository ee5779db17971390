//! How numbers become factors of products on the tensor cores, and which products make one of theirs.
//!
//! ```text
//! f32    v·2^−e = high + low + r, both f16:     x·w ≈ x_low·w_high + x_high·w_low + x_high·w_high      |r| ≤ 2^−22·|v·2^−e| + 2^−25
//! f16    high alone
//! bf16   high alone, in bf16
//! ```
//!
//! The largest magnitude behind a scale lies in [2^14, 2^15): nothing overflows, and what f16 rounds off as too small is 2^−40 of it. A product
//! that is left out, x_low·w_low, is 2^−22 of the whole.
//!
//! A **plane** is 16 factors that meet 16 others in one instruction, 32 bytes: a chunk of channels is one plane, or the high one and
//! the low one. A step of the product is [`PLANES`] planes a row.

use crate::element::ElementType;

/// Planes of a row in a step.
pub const PLANES: u32 = 4;
/// The power of two below which the largest scaled magnitude lies.
const TOP: i32 = 15;

/// Bytes of shared memory through which a warp stores its chunks: 32 of two planes.
pub const STORE_BYTES: u32 = 32 * 64;

/// Planes of a chunk for tensors of that type.
pub const fn parts(element: ElementType) -> u32 {
    if matches!(element, ElementType::F16 | ElementType::Bf16) { 1 } else { 2 }
}

/// e for a largest magnitude: v·2^−e is below 2^15 and, but for v below 2^−112, at least 2^14; 0 where there is none. 2^−e and 2^e are
/// normal f32.
#[inline(always)]
pub const fn exponent(largest: f32) -> i32 {
    if largest == 0.0 {
        return 0;
    }
    let e = (largest.to_bits() >> 23) as i32 - 126 - TOP;
    if e < -126 { -126 } else { e }
}

/// As [`exponent`], of a magnitude in f64, and without a bound.
#[inline(always)]
pub const fn wide_exponent(largest: f64) -> i32 {
    if largest == 0.0 { 0 } else { (largest.to_bits() >> 52) as i32 - 1022 - TOP }
}

/// 2^exponent, for what f64 holds as a normal number.
#[inline(always)]
pub const fn power(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

pub mod device {
    //! The device code.
    use cuda_std::convert::{Bf16, Bf16x2, F16, F16x2};
    use cuda_std::global::GlobalMut;
    use cuda_std::mma::{m16n8k16_bf16, m16n8k16_f16};
    use cuda_std::shared::Shared;
    use cuda_std::thread::lane_index;
    use cuda_std::unroll;
    use cuda_std::warp::sync_warp;
    use cuda_std::wgmma::{Products, Rows, m64n128k16_bf16, m64n128k16_f16, m128n32k16_bf16, m128n32k16_f16};

    use super::*;

    /// Which planes meet in one product: (of the chunk of x, of the chunk of w). Small products first.
    pub type Pairing = (usize, usize);

    /// A way to hold numbers as factors.
    pub trait Factors: Copy {
        /// Planes of a chunk.
        const PARTS: u32;
        /// The products of two chunks.
        const PRODUCTS: &'static [Pairing];
        /// D = A·B + C.
        fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4];
        /// Starts the products of 64 rows of a step's chunks, `b`, by 128 others, `a`. Both give the planes.
        ///
        /// # Safety
        /// As [`wgmma`](cuda_std::wgmma).
        unsafe fn start_64(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<8>;
        /// Starts the products of 128 rows of a step's chunks, `a`, by 32 others, `b`.
        ///
        /// # Safety
        /// As [`wgmma`](cuda_std::wgmma).
        unsafe fn start_32(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<4>;
    }

    /// f32 as the sum of two f16.
    #[derive(Clone, Copy)]
    pub struct Split;
    /// f16.
    #[derive(Clone, Copy)]
    pub struct Half;
    /// bf16.
    #[derive(Clone, Copy)]
    pub struct Bfloat;

    impl Factors for Split {
        const PARTS: u32 = 2;
        const PRODUCTS: &'static [Pairing] = &[(1, 0), (0, 1), (0, 0)];
        #[inline(always)]
        #[track_caller]
        fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
            m16n8k16_f16(a, b, c)
        }
        #[inline(always)]
        #[track_caller]
        unsafe fn start_64(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<8> {
            // SAFETY: the caller's promise.
            unsafe { m64n128k16_f16([(1, 0), (0, 1), (3, 2), (2, 3), (0, 0), (2, 2)].map(|(x, w)| [b(w), a(x)])) }
        }
        #[inline(always)]
        #[track_caller]
        unsafe fn start_32(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<4> {
            // SAFETY: the caller's promise.
            unsafe { m128n32k16_f16([(1, 0), (0, 1), (3, 2), (2, 3), (0, 0), (2, 2)].map(|(x, w)| [a(x), b(w)])) }
        }
    }

    macro_rules! one_plane {
        ($name:ident, $multiply:ident, $start_64:ident, $start_32:ident) => {
            impl Factors for $name {
                const PARTS: u32 = 1;
                const PRODUCTS: &'static [Pairing] = &[(0, 0)];
                #[inline(always)]
                #[track_caller]
                fn multiply(a: [u32; 4], b: [u32; 2], c: [f32; 4]) -> [f32; 4] {
                    $multiply(a, b, c)
                }
                #[inline(always)]
                #[track_caller]
                unsafe fn start_64(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<8> {
                    // SAFETY: the caller's promise.
                    unsafe { $start_64([0, 1, 2, 3].map(|plane| [b(plane), a(plane)])) }
                }
                #[inline(always)]
                #[track_caller]
                unsafe fn start_32(a: impl Fn(usize) -> Rows, b: impl Fn(usize) -> Rows) -> Products<4> {
                    // SAFETY: the caller's promise.
                    unsafe { $start_32([0, 1, 2, 3].map(|plane| [a(plane), b(plane)])) }
                }
            }
        };
    }
    one_plane!(Half, m16n8k16_f16, m64n128k16_f16, m128n32k16_f16);
    one_plane!(Bfloat, m16n8k16_bf16, m64n128k16_bf16, m128n32k16_bf16);

    /// Stores a chunk a lane, those of the first `count` lanes, each 8 words a plane; `to` says where a piece (16 bytes) of a lane's chunk goes. They
    /// change places in shared memory, [`STORE_BYTES`] of this warp's: neighbouring lanes then write neighbouring pieces of one chunk, whole sectors
    /// at once. Piece p of chunk r lies where eight neighbours find all banks.
    ///
    /// # Safety
    /// The chunks of those lanes exist, on 16-byte boundaries, and are this warp's; all its lanes come together.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store_chunks(
        stage: Shared<u32>,
        to: impl Fn(u32, u32) -> GlobalMut<u32>,
        count: u32,
        parts: u32,
        [high, low]: [[u32; 8]; 2],
    ) {
        let (lane, bits) = (lane_index(), parts); // 2 or 4 pieces a chunk
        let place = |row: u32, piece: u32| 4 * ((row << bits) + (piece ^ (((row << bits) / 8) & ((1 << bits) - 1))));
        // SAFETY: pieces of this lane's chunk, inside of the warp's memory, with a barrier before they are read and behind that;
        // of the chunks of lanes below `count`, the caller's promise.
        unsafe {
            stage.store_16(place(lane, 0), &high[..4]);
            stage.store_16(place(lane, 1), &high[4..]);
            if parts == 2 {
                stage.store_16(place(lane, 2), &low[..4]);
                stage.store_16(place(lane, 3), &low[4..]);
            }
            sync_warp();
            unroll!(i < 4, {
                if i < 1 << bits {
                    let number = 32 * i as u32 + lane;
                    let (row, piece) = (number >> bits, number & ((1 << bits) - 1));
                    if row < count {
                        let mut words = [0u32; 4];
                        stage.load_16(place(row, piece), &mut words);
                        to(row, piece).store_array(0, words);
                    }
                }
            });
            sync_warp();
        }
    }

    /// Two scaled numbers in one register: the first plane's word and the second's, which f16 and bf16 do not have.
    #[inline(always)]
    pub fn words(element: ElementType, [a, b]: [f32; 2]) -> [u32; 2] {
        if element == ElementType::Bf16 {
            return [Bf16x2::from_halves(Bf16::from_f32(a), Bf16::from_f32(b)).to_bits(), 0];
        }
        let (high_a, high_b) = (F16::from_f32(a), F16::from_f32(b));
        let low = F16x2::from_f32(a - high_a.to_f32(), b - high_b.to_f32());
        [F16x2::from_halves(high_a, high_b).to_bits(), low.to_bits()]
    }
}

#[cfg(test)]
mod tests {
    use super::device::words;
    use super::*;
    use cuda_std::convert::F16;

    #[test]
    fn scaled_magnitudes_fill_the_format() {
        let mut largest = 1e-30f32;
        while largest < f32::MAX / 2.0 {
            let scaled = f64::from(largest) * power(-exponent(largest));
            assert!((16384.0..32768.0).contains(&scaled), "{largest:e}");
            assert_eq!(wide_exponent(f64::from(largest)), exponent(largest));
            largest *= 1.37;
        }
        assert_eq!((exponent(0.0), exponent(f32::from_bits(1))), (0, -126));
        let wide = 1e-60 * power(-wide_exponent(1e-60));
        assert!((16384.0..32768.0).contains(&wide));
    }

    #[test]
    fn high_and_low_hold_22_bits() {
        let mut value = 3.1f32;
        while value < 32000.0 {
            let [high, low] = words(ElementType::F32, [value, 0.0]).map(|word| F16::from_bits(word as u16).to_f32());
            assert!((value - high - low).abs() <= value * f32::powi(2.0, -22), "{value}");
            value *= 1.0013;
        }
        let infinite = words(ElementType::F32, [f32::INFINITY, 0.0]).map(|word| F16::from_bits(word as u16).to_f32());
        assert!(infinite[0].is_infinite() && infinite[1].is_nan());
    }
}
