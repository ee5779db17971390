//! Plans of the C ABI: created once, run any number of times, destroyed.
//!
//! A plan of a CPU computes before `run` returns; one of a GPU puts its work on the stream.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::{ArrayView1, ArrayView5};

use super::options::{CONVT_BN_GAP_OPTIONS_VERSION, ConvtBnGapOptions, ConvtBnGapShape, refused};
use super::{Failure, guarded};
use crate::addresses::{DeviceTensors, check_aligned};
use crate::plan::{Backend, Plan};
use crate::{DType, Error, Inputs, Mode, RunningStatistics, Storage, bf16, f16};

/// The tensors of one run, C order, in the memory of the plan's device; of the types that ConvtBnGapOptions.dtype says.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConvtBnGapTensors {
    /// CONVT_BN_GAP_OPTIONS_VERSION.
    pub version: u32,
    /// (batch_size, in_channels, depth, height, width).
    pub input: *const c_void,
    /// (in_channels, out_channels / groups, kernel_d, kernel_h, kernel_w).
    pub kernel: *const c_void,
    /// (out_channels), or NULL for 0.
    pub conv_bias: *const c_void,
    /// (out_channels), or NULL for 1.
    pub bn_weight: *const c_void,
    /// (out_channels), or NULL for 0.
    pub bn_bias: *const c_void,
    /// (out_channels), with options.running_statistics, else NULL. In training a run that succeeds moves it once, one that fails
    /// not at all.
    pub running_mean: *mut c_void,
    /// As running_mean. A variance below 0 is refused on a CPU; in a GPU's memory it is not looked at.
    pub running_var: *mut c_void,
    /// One number in the host's memory, or NULL: batches in training so far. A run that moves the running statistics counts it
    /// up. With options.cumulative_momentum NULL counts as 0.
    pub num_batches_tracked: *mut u64,
    /// Out: (batch_size, out_channels, 1, 1, 1).
    pub output: *mut c_void,
    /// Out: (out_channels), or NULL; written where the batch's statistics are used.
    pub batch_mean: *mut f64,
    /// As batch_mean; biased.
    pub batch_var: *mut f64,
}

/// A problem made ready to run on a device. One thread at a time may use it.
pub struct ConvtBnGapPlan {
    plan: Typed,
    output: DType,
}

/// A plan for each format.
enum Typed {
    F16(Plan<f16>),
    BF16(Plan<bf16>),
    F32(Plan<f32>),
    F64(Plan<f64>),
}

/// Evaluates `$body` with `$plan` bound to the plan, whatever its format.
macro_rules! with_plan {
    ($typed:expr, $plan:ident => $body:expr) => {
        match $typed {
            Typed::F16($plan) => $body,
            Typed::BF16($plan) => $body,
            Typed::F32($plan) => $body,
            Typed::F64($plan) => $body,
        }
    };
}

/// Makes a plan. It is the caller's until convt_bn_gap_plan_destroy; on failure `*plan` is NULL.
///
/// # Safety
/// `shape` and `options` point to such structs and `plan` to a pointer, or are NULL, which is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convt_bn_gap_plan_create(
    shape: *const ConvtBnGapShape,
    options: *const ConvtBnGapOptions,
    plan: *mut *mut ConvtBnGapPlan,
) -> c_int {
    guarded(|| {
        // SAFETY: the caller's promise; null is told apart.
        let plan = unsafe { plan.as_mut() }.ok_or_else(|| null("plan"))?;
        *plan = std::ptr::null_mut();
        // SAFETY: as above.
        let shape = unsafe { shape.as_ref() }.ok_or_else(|| null("shape"))?;
        // SAFETY: as above.
        let options = unsafe { options.as_ref() }.ok_or_else(|| null("options"))?;
        *plan = Box::into_raw(Box::new(ConvtBnGapPlan::new(shape, options)?));
        Ok(())
    })
}

/// Bytes that a run takes beside its tensors.
///
/// # Safety
/// `plan` is of convt_bn_gap_plan_create and not destroyed, `bytes` points to a number; or they are NULL, which is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convt_bn_gap_plan_workspace_bytes(plan: *const ConvtBnGapPlan, bytes: *mut u64) -> c_int {
    guarded(|| {
        // SAFETY: the caller's promise; null is told apart.
        let plan = unsafe { plan.as_ref() }.ok_or_else(|| null("plan"))?;
        // SAFETY: as above.
        *unsafe { bytes.as_mut() }.ok_or_else(|| null("bytes"))? =
            with_plan!(&plan.plan, plan => plan.workspace_bytes());
        Ok(())
    })
}

/// Computes. On a GPU the work is put on `stream` (a CUstream or cudaStream_t, NULL for the legacy default stream) and this
/// returns without waiting; all runs of a plan are on one stream, or ordered by the caller. On a CPU `stream` is not looked at.
/// A run that a CUDA graph captures is counted in num_batches_tracked once, and replayed with the cumulative momentum of that count.
///
/// # Safety
/// `plan` is of convt_bn_gap_plan_create, not destroyed and used by no other thread; `tensors` points to such a struct. Each of its
/// pointers is NULL where that is allowed, or holds the elements that the plan's shape says; the outputs overlap no other tensor.
/// On a GPU they stay valid, and inputs unwritten, until the stream has passed this call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convt_bn_gap_plan_run(
    plan: *mut ConvtBnGapPlan,
    tensors: *const ConvtBnGapTensors,
    stream: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: the caller's promise; null is told apart.
        let plan = unsafe { plan.as_mut() }.ok_or_else(|| null("plan"))?;
        // SAFETY: as above.
        let tensors = unsafe { tensors.as_ref() }.ok_or_else(|| null("tensors"))?;
        if tensors.version != CONVT_BN_GAP_OPTIONS_VERSION {
            return Err(refused("the tensors' version", tensors.version, "1"));
        }
        // SAFETY: the caller's promise.
        with_plan!(&mut plan.plan, typed => unsafe { run(typed, plan.output, tensors, stream) })
    })
}

/// Gives a plan and its memory back; NULL is nothing. Runs that are on their way on a GPU are waited for; CUDA graphs that captured
/// a run must be destroyed before. The last error stays as it is.
///
/// # Safety
/// `plan` is of convt_bn_gap_plan_create and not destroyed before, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convt_bn_gap_plan_destroy(plan: *mut ConvtBnGapPlan) {
    // What panics here is a defect, of which nobody could be told.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if !plan.is_null() {
            // SAFETY: the caller's promise: `Box::into_raw` of `convt_bn_gap_plan_create`, given back once.
            drop(unsafe { Box::from_raw(plan) });
        }
    }));
}

fn null(what: &str) -> Failure {
    refused(what, "a null pointer", "given")
}

impl ConvtBnGapPlan {
    fn new(shape: &ConvtBnGapShape, options: &ConvtBnGapOptions) -> Result<Self, Failure> {
        options.check_version()?;
        let dtype = options.dtype()?;
        let output = options.output_dtype(dtype)?;
        let plan_options = options.plan_options()?;
        // The problem's own refusals come before the device's.
        let problem = options.problem(shape)?;
        let device = options.device()?;
        let plan = match dtype {
            DType::F16 => Typed::F16(Plan::new(&problem, &device, plan_options)?),
            DType::BF16 => Typed::BF16(Plan::new(&problem, &device, plan_options)?),
            DType::F32 => Typed::F32(Plan::new(&problem, &device, plan_options)?),
            DType::F64 => Typed::F64(Plan::new(&problem, &device, plan_options)?),
        };
        Ok(Self { plan, output })
    }
}

/// # Safety
/// As [`convt_bn_gap_plan_run`].
unsafe fn run<T: Storage>(
    plan: &mut Plan<T>,
    output: DType,
    tensors: &ConvtBnGapTensors,
    stream: *mut c_void,
) -> Result<(), Failure> {
    let addresses = tensors.addresses(output);
    addresses.check::<T>(plan.problem()).map_err(Error::from)?;
    check_aligned("num_batches_tracked", tensors.num_batches_tracked.addr() as u64, align_of::<u64>() as u64)
        .map_err(Error::from)?;
    if plan.recipe().backend == Backend::Cuda {
        // SAFETY: the caller's promise; aligned.
        return unsafe { on_gpu(plan, &addresses, tensors.num_batches_tracked, stream) };
    }
    // SAFETY: the caller's promise; checked above.
    unsafe { on_cpu(plan, output, tensors) }
}

/// # Safety
/// As [`convt_bn_gap_plan_run`]; `DeviceTensors::check` has passed the tensors, and the count is aligned.
unsafe fn on_cpu<T: Storage>(plan: &mut Plan<T>, output: DType, tensors: &ConvtBnGapTensors) -> Result<(), Failure> {
    let problem = plan.problem().clone();
    let channels = problem.out_channels();
    let shapes = (problem.input().extents(), problem.kernel().extents());
    // SAFETY: the caller's promise of as many elements as the shapes say; not null, and aligned.
    let (input, kernel) = unsafe {
        let input = ArrayView5::from_shape_ptr(shapes.0, tensors.input.cast::<T>());
        (input, ArrayView5::from_shape_ptr(shapes.1, tensors.kernel.cast::<T>()))
    };
    // SAFETY: the caller's promise of a number for each output channel, or null; aligned.
    let (inputs, mean, var) = unsafe {
        let inputs = Inputs {
            conv_bias: vector::<T>(tensors.conv_bias, channels),
            bn_weight: vector::<T::Wide>(tensors.bn_weight, channels),
            bn_bias: vector::<T::Wide>(tensors.bn_bias, channels),
            ..Inputs::new(input, kernel)
        };
        let mean = vector::<T::Wide>(tensors.running_mean, channels);
        (inputs, mean, vector::<T::Wide>(tensors.running_var, channels))
    };
    // Both where the problem has running statistics, else neither.
    let outputs = match mean.zip(var) {
        None => plan.run_unrounded(&inputs)?,
        Some((mean, var)) => {
            // SAFETY: the caller's promise of one number, or null; aligned.
            let tracked = unsafe { tensors.num_batches_tracked.as_mut() };
            let num_batches_tracked = tracked.as_ref().map_or(0, |tracked| **tracked);
            let mut running = RunningStatistics { mean: mean.to_owned(), var: var.to_owned(), num_batches_tracked };
            let outputs = plan.run_updating_unrounded(&inputs, &mut running)?;
            if matches!(problem.mode(), Mode::Train { .. }) {
                // SAFETY: as where they were read, from which nothing is borrowed any more; not null.
                unsafe {
                    store(tensors.running_mean.cast::<T::Wide>(), running.mean.into_iter());
                    store(tensors.running_var.cast::<T::Wide>(), running.var.into_iter());
                }
                if let Some(tracked) = tracked {
                    *tracked = running.num_batches_tracked;
                }
            }
            outputs
        }
    };
    // SAFETY: the caller's promise of a value for each sample and channel, or channel; null or aligned.
    unsafe {
        match output == T::DTYPE {
            true => store(tensors.output.cast::<T>(), outputs.output.iter().map(|&value| T::from_f64(value))),
            false => store(tensors.output.cast::<f32>(), outputs.output.iter().map(|&value| value as f32)),
        }
        store(tensors.batch_mean, outputs.batch_mean.into_iter().flatten());
        store(tensors.batch_var, outputs.batch_var.into_iter().flatten());
    }
    Ok(())
}

impl ConvtBnGapTensors {
    /// The tensors' addresses, with an output of `output`.
    fn addresses(&self, output: DType) -> DeviceTensors {
        let address = |pointer: *const c_void| pointer.expose_provenance() as u64;
        DeviceTensors {
            input: address(self.input),
            kernel: address(self.kernel),
            conv_bias: address(self.conv_bias),
            bn_weight: address(self.bn_weight),
            bn_bias: address(self.bn_bias),
            running_mean: address(self.running_mean),
            running_var: address(self.running_var),
            output: address(self.output),
            output_dtype: Some(output),
            batch_mean: address(self.batch_mean.cast()),
            batch_var: address(self.batch_var.cast()),
        }
    }
}

/// `channels` numbers, or none.
///
/// # Safety
/// `pointer` is null, or aligned and to that many numbers, which nobody writes while the view is used.
unsafe fn vector<'a, V>(pointer: *const c_void, channels: usize) -> Option<ArrayView1<'a, V>> {
    // SAFETY: the caller's promise; not null.
    (!pointer.is_null()).then(|| unsafe { ArrayView1::from_shape_ptr(channels, pointer.cast()) })
}

/// Writes all values to where `pointer` points; nowhere if it is null.
///
/// # Safety
/// `pointer` is null, or aligned and to as many values, which nothing else refers to.
unsafe fn store<V>(pointer: *mut V, values: impl Iterator<Item = V>) {
    if !pointer.is_null() {
        for (i, value) in values.enumerate() {
            // SAFETY: the caller's promise: there are more than i values.
            unsafe { pointer.add(i).write(value) };
        }
    }
}

/// # Safety
/// As [`convt_bn_gap_plan_run`]; `tracked` is aligned.
#[cfg(feature = "cuda")]
unsafe fn on_gpu<T: Storage>(
    plan: &mut Plan<T>,
    tensors: &DeviceTensors,
    tracked: *mut u64,
    stream: *mut c_void,
) -> Result<(), Failure> {
    use crate::cuda::RawStream;
    plan.check_reachable(tensors)?;
    // SAFETY: the caller's promise of one number of the host's, or null; aligned.
    let tracked = unsafe { tracked.as_mut() };
    let problem = plan.problem().after_batches(tracked.as_ref().map_or(0, |tracked| **tracked));
    let moves = problem.has_running_statistics() && matches!(problem.mode(), Mode::Train { .. });
    plan.count_from(problem);
    // SAFETY: the caller's promise.
    unsafe { plan.run_device(RawStream::from_handle(stream.expose_provenance()), tensors) }?;
    if let Some(tracked) = tracked.filter(|_| moves) {
        *tracked = tracked.saturating_add(1);
    }
    Ok(())
}

/// # Safety
/// None: there is no such plan.
#[cfg(not(feature = "cuda"))]
unsafe fn on_gpu<T: Storage>(_: &mut Plan<T>, _: &DeviceTensors, _: *mut u64, _: *mut c_void) -> Result<(), Failure> {
    Err(crate::Error::Unavailable(crate::Unavailable::NotBuilt).into())
}
