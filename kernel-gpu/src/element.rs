//! Tensors whose number format is known when a kernel is launched, so that one entry serves them all.
//!
//! What is read is widened, which is exact: f16 and bf16 to f32. What is written is rounded once, from f64.
//!
//! Loads that are to be in flight together are first all started ([`Tensor::bits`]) and then widened: whether elements are narrow
//! is asked around both, once for all of them, and each answer has code of its own (`NARROW`).

use core::marker::PhantomData;

use cuda_std::convert::{Bf16, F16};
use cuda_std::float::Float;
use cuda_std::global::{Global, GlobalMut};

/// A number format. Part of parameter blocks.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// IEEE binary16.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

/// What kernels compute in: f32, from tensors in f16, bf16 and f32; f64, from tensors in f64.
pub trait Value: Float {
    /// An element as a load leaves it.
    type Bits: Copy + Default;
    /// Whether elements of that type are of 16 bits.
    fn is_narrow(element: ElementType) -> bool;
    /// Element `index` from `address` on.
    ///
    /// # Safety
    /// It exists, of 16 bits if `NARROW` is set, else of `Self`, and nobody writes it while the kernel runs.
    unsafe fn bits<const NARROW: bool>(address: u64, index: u64) -> Self::Bits;
    /// Its value.
    fn widen<const NARROW: bool>(bits: Self::Bits, element: ElementType) -> Self;
}

impl Value for f32 {
    type Bits = u32;

    #[inline(always)]
    fn is_narrow(element: ElementType) -> bool {
        matches!(element, ElementType::F16 | ElementType::Bf16)
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn bits<const NARROW: bool>(address: u64, index: u64) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            if NARROW {
                Global::<u16>::from_address(address).load(index) as u32
            } else {
                Global::<u32>::from_address(address).load(index)
            }
        }
    }

    #[inline(always)]
    fn widen<const NARROW: bool>(bits: u32, element: ElementType) -> f32 {
        if !NARROW {
            f32::from_bits(bits)
        } else if element == ElementType::F16 {
            F16::from_bits(bits as u16).to_f32()
        } else {
            Bf16::from_bits(bits as u16).to_f32()
        }
    }
}

impl Value for f64 {
    type Bits = f64;

    #[inline(always)]
    fn is_narrow(_: ElementType) -> bool {
        false
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn bits<const NARROW: bool>(address: u64, index: u64) -> f64 {
        // SAFETY: the caller's promise.
        unsafe { Global::<f64>::from_address(address).load(index) }
    }

    #[inline(always)]
    fn widen<const NARROW: bool>(bits: f64, _: ElementType) -> f64 {
        bits
    }
}

/// A tensor that nobody writes while the kernel runs and that is computed with in `T`. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
pub struct Tensor<T> {
    address: u64,
    element: ElementType,
    computed_in: PhantomData<fn() -> T>,
}

impl<T> Clone for Tensor<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Tensor<T> {}

impl<T> Tensor<T> {
    /// The tensor at `address` in device memory, 0 for none; `element` is F64 for f64, and one of the others for f32.
    pub const fn new(address: u64, element: ElementType) -> Self {
        Self { address, element, computed_in: PhantomData }
    }

    /// Whether there is none.
    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.address == 0
    }

    /// The address in device memory.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// The format of its elements.
    #[inline(always)]
    pub const fn element(self) -> ElementType {
        self.element
    }
}

impl<T: Value> Tensor<T> {
    /// The tensor from that element on.
    #[inline(always)]
    pub fn offset(self, elements: u64) -> Self {
        let bytes = if self.is_narrow() { 2 } else { T::BYTES as u64 };
        // On the host it saturates: far out of bounds rather than wrapped around, as in `Global`.
        #[cfg(target_arch = "nvptx64")]
        let address = self.address.wrapping_add(elements.wrapping_mul(bytes));
        #[cfg(not(target_arch = "nvptx64"))]
        let address = self.address.saturating_add(elements.saturating_mul(bytes));
        Self { address, ..self }
    }

    /// Whether its elements are of 16 bits.
    #[inline(always)]
    pub fn is_narrow(self) -> bool {
        T::is_narrow(self.element)
    }

    /// Whether its elements are f16.
    #[inline(always)]
    pub fn is_f16(self) -> bool {
        self.element == ElementType::F16
    }

    /// Element `index`, as it lies there.
    ///
    /// # Safety
    /// It exists, and nobody writes it while the kernel runs; `NARROW` is [`Self::is_narrow`].
    #[inline(always)]
    #[track_caller]
    pub unsafe fn bits<const NARROW: bool>(self, index: u64) -> T::Bits {
        // SAFETY: the caller's promise.
        unsafe { T::bits::<NARROW>(self.address, index) }
    }

    /// The value of these [`bits`](Self::bits).
    #[inline(always)]
    pub fn widen<const NARROW: bool>(self, bits: T::Bits) -> T {
        T::widen::<NARROW>(bits, self.element)
    }

    /// Element `index`.
    ///
    /// # Safety
    /// It exists, and nobody writes it while the kernel runs.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load(self, index: u64) -> T {
        if self.is_narrow() {
            // SAFETY: the caller's promise.
            self.widen::<true>(unsafe { self.bits::<true>(index) })
        } else {
            // SAFETY: the caller's promise.
            self.widen::<false>(unsafe { self.bits::<false>(index) })
        }
    }
}

impl<T: Value> From<Global<T>> for Tensor<T> {
    /// Elements that lie there as they are computed with.
    fn from(pointer: Global<T>) -> Self {
        Self::new(pointer.address(), if T::BYTES == 4 { ElementType::F32 } else { ElementType::F64 })
    }
}

/// A tensor that the kernel writes. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TensorMut {
    address: u64,
    element: ElementType,
}

impl TensorMut {
    /// The tensor at `address` in device memory.
    pub const fn new(address: u64, element: ElementType) -> Self {
        Self { address, element }
    }

    /// Writes `value`, rounded once, as element `index`.
    ///
    /// # Safety
    /// It exists, and no other thread accesses it unordered with this write.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store(self, index: u64, value: f64) {
        // SAFETY: the caller's promise, whatever the type.
        unsafe {
            match self.element {
                ElementType::F16 => {
                    GlobalMut::from_address(self.address).store(index, F16::from_f32(round_to_odd(value)))
                }
                ElementType::Bf16 => {
                    GlobalMut::from_address(self.address).store(index, Bf16::from_f32(round_to_odd(value)))
                }
                ElementType::F32 => GlobalMut::from_address(self.address).store(index, value as f32),
                ElementType::F64 => GlobalMut::from_address(self.address).store(index, value),
            }
        }
    }
}

/// The f32 on either side of an f64 that is none itself whose last bit is 1: rounding that to 16 bits is rounding the f64.
#[inline(always)]
pub fn round_to_odd(value: f64) -> f32 {
    let near = value as f32;
    if near as f64 == value || near.to_bits() & 1 == 1 || !near.is_finite() {
        return near;
    }
    // Towards the value, or away from an overshoot: magnitudes order as bits do.
    let farther = (near as f64).abs() < value.abs();
    f32::from_bits(if farther { near.to_bits() + 1 } else { near.to_bits().wrapping_sub(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_elements() {
        let at = |element| Tensor::<f32>::new(100, element).offset(7).address;
        assert_eq!([ElementType::F16, ElementType::Bf16, ElementType::F32].map(at), [114, 114, 128]);
        assert_eq!(Tensor::<f64>::from(Global::from_address(100)).offset(7).address, 156);
        assert_eq!(Tensor::<f32>::from(Global::null()).element, ElementType::F32);
    }

    #[test]
    fn bits_are_read_as_the_format_says() {
        // 1.5 in each format, and what it is in the others.
        let widen = |bits, element| f32::widen::<true>(bits, element);
        assert_eq!(widen(0x3e00, ElementType::F16), 1.5);
        assert_eq!(widen(0x3fc0, ElementType::Bf16), 1.5);
        assert_eq!(widen(0x3fc0, ElementType::F16), 1.9375);
        assert_eq!(f32::widen::<false>(0x3fc0_0000, ElementType::F32), 1.5);
        assert!(f32::is_narrow(ElementType::F16) && f32::is_narrow(ElementType::Bf16));
        assert!(!f32::is_narrow(ElementType::F32) && !f64::is_narrow(ElementType::F64));
    }

    #[test]
    fn rounding_to_odd_keeps_what_f32_holds_and_leaves_no_ties() {
        for value in [0.0, -0.0, 1.5, f64::INFINITY, f32::MAX as f64] {
            assert_eq!(round_to_odd(value).to_bits(), (value as f32).to_bits());
        }
        // Just above and below the tie between 1 and the next f16.
        let (tie, little) = (1.0 + f64::powi(2.0, -11), f64::powi(2.0, -40));
        let narrow = |value| F16::from_f32(round_to_odd(value)).to_bits();
        assert_eq!([tie - little, tie, tie + little].map(narrow), [0x3c00, 0x3c00, 0x3c01]);
        assert_eq!([tie - little, tie, tie + little].map(|v| narrow(-v)), [0xbc00, 0xbc00, 0xbc01]);
        assert!(round_to_odd(f64::NAN).is_nan());
    }
}
