//! The C ABI: the whole operation in one call on device pointers; with every option, on any device, as a plan
//! ([`ConvtBnGapPlan`]).
//! `include/convt_bn_gap.h` is made from these files.
//!
//! Each call on device pointers finds or makes a plan for its stream and sizes (the last few are kept), puts the work on that stream of the device
//! that is current on the calling thread (device 0 where none is), and returns without waiting. A plan's workspace belongs to
//! one stream, which orders its uses; the memory of a call that is captured in a CUDA graph is never given back, because the
//! graph may be launched at any time.

mod formats;
mod options;
mod plan;

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::DType;

pub use formats::*;
pub use options::*;
pub use plan::*;

/// The call did what it says; the result is on its way on the call's stream.
pub const CONVT_BN_GAP_OK: c_int = 0;
/// An argument was refused; nothing was launched.
pub const CONVT_BN_GAP_BAD_INPUT: c_int = 2;
/// There is no usable device, or it failed.
pub const CONVT_BN_GAP_DEVICE_FAILED: c_int = 3;
/// A defect of this library; nothing can be said of the output.
pub const CONVT_BN_GAP_INTERNAL: c_int = 4;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Why the last call on this thread failed: one sentence, empty after a success. Valid until the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn convt_bn_gap_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|error| error.as_ptr())
}

/// ConvTranspose3d, scale, BatchNorm3d in training mode (batch statistics, eps 1e-5), global average pooling; all f32.
///
/// `output[b,c] = bn_weight[c] * s*(m[b,c] - mu[c]) / sqrt(s^2 * sigma2[c] + eps) + bn_bias[c]`
///
/// input (batch_size, in_channels, depth, height, width); kernel (in_channels, out_channels, kernel_d, kernel_h,
/// kernel_w); conv_bias, bn_weight, bn_bias (out_channels), each NULL for 0, 1, 0; output (batch_size, out_channels, 1, 1,
/// 1). All C order, in memory that the device reaches. Returns 0, or an error code with convt_bn_gap_last_error().
///
/// # Safety
/// Every pointer holds the elements that its shape says, and stays valid and unwritten until the default stream has passed
/// this call; `output` overlaps none of them.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn convt_bn_gap_f32(
    input: *const f32,
    kernel: *const f32,
    conv_bias: *const f32,
    bn_weight: *const f32,
    bn_bias: *const f32,
    output: *mut f32,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        convt_bn_gap_f32_on_stream(
            input,
            kernel,
            conv_bias,
            bn_weight,
            bn_bias,
            output,
            scale_factor,
            batch_size,
            in_channels,
            out_channels,
            depth,
            height,
            width,
            kernel_d,
            kernel_h,
            kernel_w,
            null_mut(),
        )
    }
}

/// convt_bn_gap_f32 on a stream of the caller's: `stream` is a CUstream or cudaStream_t, NULL for the legacy default stream.
///
/// Returns without waiting. The first call on a stream with new sizes allocates; later ones do not, and may be captured in a
/// CUDA graph: call once on the stream, then capture on it. What a captured call works in is kept until the process ends, and
/// is the same for other calls of those sizes on that stream: launch the graph there, or keep the two apart.
///
/// # Safety
/// As convt_bn_gap_f32, for that stream. It is a stream of the current device's primary context (which PyTorch and the CUDA
/// runtime use), and its work is done before it is destroyed.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn convt_bn_gap_f32_on_stream(
    input: *const f32,
    kernel: *const f32,
    conv_bias: *const f32,
    bn_weight: *const f32,
    bn_bias: *const f32,
    output: *mut f32,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
    stream: *mut c_void,
) -> c_int {
    guarded(|| {
        let call = Call {
            input: input.expose_provenance() as u64,
            kernel: kernel.expose_provenance() as u64,
            conv_bias: conv_bias.expose_provenance() as u64,
            bn_weight: bn_weight.expose_provenance() as u64,
            bn_bias: bn_bias.expose_provenance() as u64,
            output: output.expose_provenance() as u64,
            stream: stream.expose_provenance(),
            dtype: DType::F32,
            scale_factor,
            input_extents: [batch_size, in_channels, depth, height, width],
            kernel_extents: [in_channels, out_channels, kernel_d, kernel_h, kernel_w],
        };
        // SAFETY: the caller's promise.
        unsafe { call.run() }
    })
}

/// convt_bn_gap_f32 under the name that benchmark harnesses call.
///
/// # Safety
/// As convt_bn_gap_f32.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn solution(
    input: *const f32,
    kernel: *const f32,
    conv_bias: *const f32,
    bn_weight: *const f32,
    bn_bias: *const f32,
    output: *mut f32,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        convt_bn_gap_f32(
            input,
            kernel,
            conv_bias,
            bn_weight,
            bn_bias,
            output,
            scale_factor,
            batch_size,
            in_channels,
            out_channels,
            depth,
            height,
            width,
            kernel_d,
            kernel_h,
            kernel_w,
        )
    }
}

/// What a call fails with: the code and the sentence.
struct Failure {
    code: c_int,
    sentence: String,
}

/// One call's arguments.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
struct Call {
    input: u64,
    kernel: u64,
    conv_bias: u64,
    bn_weight: u64,
    bn_bias: u64,
    output: u64,
    stream: usize,
    dtype: DType,
    scale_factor: f64,
    input_extents: [usize; 5],
    kernel_extents: [usize; 5],
}

/// Runs `call`, keeps its failure for [`convt_bn_gap_last_error`], and lets no panic cross into C.
fn guarded(call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(Failure { code: CONVT_BN_GAP_INTERNAL, sentence: "convt-bn-gap failed unexpectedly: a defect".to_owned() })
    });
    let (code, sentence) = match result {
        Ok(()) => (CONVT_BN_GAP_OK, String::new()),
        Err(failure) => (failure.code, failure.sentence),
    };
    // A sentence holds no NUL; were there one, an empty sentence beats none.
    LAST_ERROR.set(CString::new(sentence).unwrap_or_default());
    code
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        let code = if error.is_device_failure() { CONVT_BN_GAP_DEVICE_FAILED } else { CONVT_BN_GAP_BAD_INPUT };
        Self { code, sentence: error.to_string() }
    }
}

#[cfg(not(feature = "cuda"))]
impl Call {
    /// # Safety
    /// None: there is nothing to launch.
    unsafe fn run(&self) -> Result<(), Failure> {
        Err(crate::Error::Unavailable(crate::Unavailable::NotBuilt).into())
    }
}

#[cfg(feature = "cuda")]
mod plans {
    //! The plans of the last calls.

    use std::sync::{Mutex, PoisonError};
    use std::thread::{self, ThreadId};

    use super::{CONVT_BN_GAP_BAD_INPUT, Call, Failure};
    use crate::addresses::DeviceTensors;
    use crate::cuda::{CudaDevice, CudaPlan, RawStream};
    use crate::plan::PlanOptions;
    use crate::{DType, Error, KernelShape, Problem, Shape5, Storage, bf16, f16};

    /// How many plans are kept beside those that graphs use: one for each layer shape of a small network.
    const KEPT: usize = 8;

    /// cudaStreamPerThread: one handle for as many streams as there are threads.
    const PER_THREAD: usize = 2;

    struct Kept<T: Storage> {
        ordinal: u32,
        /// What orders the calls that share the plan's workspace.
        stream: (usize, Option<ThreadId>),
        problem: Problem,
        plan: CudaPlan<T>,
        /// A graph may hold the addresses of the plan's workspace.
        captured: bool,
    }

    const COLD: &str = "the stream is being captured and was not used with these sizes before: call once on it first";

    /// Formats that plans are kept of.
    trait Planned: Storage {
        /// Most recent last.
        fn plans() -> &'static Mutex<Vec<Kept<Self>>>;
    }

    macro_rules! planned {
        ($($format:ty),*) => { $(
            impl Planned for $format {
                fn plans() -> &'static Mutex<Vec<Kept<$format>>> {
                    static PLANS: Mutex<Vec<Kept<$format>>> = Mutex::new(Vec::new());
                    &PLANS
                }
            }
        )* };
    }
    planned!(f16, bf16, f32, f64);

    impl Call {
        /// # Safety
        /// As [`convt_bn_gap_f32`](super::convt_bn_gap_f32).
        pub(super) unsafe fn run(&self) -> Result<(), Failure> {
            let [batch, channels, depth, height, width] = self.input_extents;
            let input = Shape5 { batch, channels, depth, height, width };
            let [in_channels, out_channels, depth, height, width] = self.kernel_extents;
            let kernel = KernelShape { in_channels, out_channels, depth, height, width };
            let problem =
                Problem::builder(input, kernel).scale_factor(self.scale_factor).build().map_err(Error::from)?;
            let tensors = DeviceTensors {
                input: self.input,
                kernel: self.kernel,
                conv_bias: self.conv_bias,
                bn_weight: self.bn_weight,
                bn_bias: self.bn_bias,
                output: self.output,
                ..DeviceTensors::default()
            };
            match self.dtype {
                // SAFETY: the caller's promise.
                DType::F32 => unsafe { self.launch::<f32>(problem, &tensors) },
                // SAFETY: the caller's promise.
                DType::F64 => unsafe { self.launch::<f64>(problem, &tensors) },
                // SAFETY: the caller's promise.
                DType::F16 => unsafe { self.launch::<f16>(problem, &tensors) },
                // SAFETY: the caller's promise.
                DType::BF16 => unsafe { self.launch::<bf16>(problem, &tensors) },
            }
        }

        /// # Safety
        /// As [`Self::run`]; the tensors are of `T`.
        unsafe fn launch<T: Planned>(&self, problem: Problem, tensors: &DeviceTensors) -> Result<(), Failure> {
            tensors.check::<T>(&problem).map_err(Error::from)?;
            let ordinal = CudaDevice::current_ordinal().map_err(Error::from)?;
            let raw = RawStream::from_handle(self.stream);
            let stream = (self.stream, (self.stream == PER_THREAD).then(|| thread::current().id()));
            // A panic in another call leaves whole plans behind: they are pushed last.
            let mut plans = T::plans().lock().unwrap_or_else(PoisonError::into_inner);
            let open = plans.iter().find(|kept| kept.ordinal == ordinal).map(|kept| kept.plan.device().clone());
            let device = open.map_or_else(|| CudaDevice::open(ordinal), Ok).map_err(Error::from)?;
            // SAFETY: the caller's promise of a stream of this device.
            let captured = unsafe { raw.is_captured(&device) }.map_err(Error::from)?;
            let is_it = |kept: &Kept<T>| (kept.ordinal, kept.stream, &kept.problem) == (ordinal, stream, &problem);
            let mut kept = match plans.iter().position(is_it) {
                Some(index) => plans.remove(index),
                // To allocate would end the capture.
                None if captured => return Err(Failure { code: CONVT_BN_GAP_BAD_INPUT, sentence: COLD.to_owned() }),
                None => {
                    let plan = CudaPlan::new(&problem, PlanOptions::default(), &device)?;
                    Kept { ordinal, stream, problem, plan, captured }
                }
            };
            kept.captured |= captured;
            let launched = kept.plan.check_reachable(tensors).and_then(|()| {
                // SAFETY: the caller's promise; all calls of this plan are on one stream, which orders its workspace.
                unsafe { kept.plan.run_device(raw, tensors) }
            });
            plans.push(kept);
            if plans.iter().filter(|kept| !kept.captured).count() > KEPT {
                plans.iter().position(|kept| !kept.captured).map(|oldest| plans.remove(oldest));
            }
            Ok(launched?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::ptr;

    use super::*;

    fn last_error() -> String {
        // SAFETY: a C string of this thread, read before the next call.
        unsafe { CStr::from_ptr(convt_bn_gap_last_error()) }.to_str().unwrap().to_owned()
    }

    fn call(batch: usize, width: usize) -> c_int {
        let (null, out) = (ptr::null(), ptr::null_mut());
        // SAFETY: no pointer is followed: sizes are refused first, then null pointers.
        unsafe { solution(null, null, null, null, null, out, 2.0, batch, 3, 4, 2, 2, width, 3, 3, 3) }
    }

    #[test]
    fn refusals_say_why_and_nothing_is_launched() {
        if cfg!(not(feature = "cuda")) {
            assert_eq!(call(2, 2), CONVT_BN_GAP_DEVICE_FAILED);
            return;
        }
        assert_eq!(call(0, 2), CONVT_BN_GAP_BAD_INPUT);
        assert!(last_error().contains("batch"), "{}", last_error());
        assert_eq!(call(2, usize::MAX), CONVT_BN_GAP_BAD_INPUT);
        let code = call(2, 2);
        assert!(code == CONVT_BN_GAP_BAD_INPUT || code == CONVT_BN_GAP_DEVICE_FAILED);
        assert!(!last_error().is_empty());
    }

    #[test]
    fn a_panic_becomes_a_code() {
        let code = guarded(|| -> Result<(), Failure> { panic!("this panic is part of a test") });
        assert_eq!(code, CONVT_BN_GAP_INTERNAL);
        assert_eq!(guarded(|| Ok(())), CONVT_BN_GAP_OK);
        assert_eq!(last_error(), "");
    }
}
