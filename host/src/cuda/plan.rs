//! A plan on a GPU: three kernels one after the other, over memory that the plan owns.
//!
//! | stage | reads | writes |
//! |---|---|---|
//! | `conv_transpose_moments` | input, kernel | mean, M2 a (b, c, slice) |
//! | `batch_norm_reduce` | these | mean, M2 a (b, c) |
//! | `pool_finish` | these, the per-channel vectors | output, batch statistics, running statistics |
//!
//! [`CudaPlan::run_device`] only launches: no allocation, no waiting. [`CudaPlan::run`] takes host arrays; the device
//! memory it stages them in is allocated on its first call and kept.

use cuda_std::global::{Global, GlobalMut};
use cust::sys;
use kernel_gpu::batch_norm_reduce::BatchNormReduce;
use kernel_gpu::conv_transpose_moments::ConvTransposeMoments;
use kernel_gpu::pool_finish::PoolFinish;
use kernel_gpu::tile::POSITIONS;

use super::device::{Bound, CudaDevice};
use super::error::{CudaError, check};
use super::memory::DeviceArray;
use super::staging::Staging;
use super::stream::{OwnStream, RawStream};
use super::{batch_norm_reduce, conv_transpose_moments, pool_finish};
use crate::Error;
use crate::element::Element;
use crate::plan::{CudaDirect, Precision};
use crate::problem::{Mode, Problem};
use crate::tensors::{Inputs, Outputs};

/// The addresses of one call's tensors in device memory, C order, lengths as the plan's problem says; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceTensors {
    /// (B, Cin, D, H, W).
    pub input: u64,
    /// (Cin, Cout, Kd, Kh, Kw).
    pub kernel: u64,
    /// (Cout), or 0.
    pub conv_bias: u64,
    /// γ (Cout), or 0.
    pub bn_weight: u64,
    /// β (Cout), or 0.
    pub bn_bias: u64,
    /// (Cout), or 0; updated in place in training.
    pub running_mean: u64,
    /// (Cout), or 0; updated in place in training.
    pub running_var: u64,
    /// Out: (B, Cout).
    pub output: u64,
}

/// A problem made ready on a GPU.
pub struct CudaPlan<T: Element> {
    problem: Problem,
    direct: CudaDirect,
    // Fields are dropped in order: the stream goes while `device` still retains the context that it is of.
    stream: OwnStream,
    device: CudaDevice,
    workspace: Workspace,
    staging: Option<Staging<T>>,
}

impl<T: Element> std::fmt::Debug for CudaPlan<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaPlan").field("device", &self.device).field("direct", &self.direct).finish_non_exhaustive()
    }
}

/// What the kernels hand to each other.
struct Workspace {
    slice_mean: DeviceArray<f64>,
    slice_m2: DeviceArray<f64>,
    mean: DeviceArray<f64>,
    m2: DeviceArray<f64>,
    batch_mean: DeviceArray<f64>,
    batch_var: DeviceArray<f64>,
}

impl<T: Element> CudaPlan<T> {
    /// Designs the plan and allocates what it needs.
    ///
    /// # Errors
    /// As [`CudaDirect::design`]; [`Error::Memory`] where the device has too little; [`Error::Cuda`].
    pub fn new(problem: &Problem, precision: Precision, device: &CudaDevice) -> Result<Self, Error> {
        let direct = CudaDirect::design(problem, T::DTYPE, precision)?;
        let bound = device.bind()?;
        let (needed, free) = (direct.workspace_bytes(), device.free_memory(&bound)?);
        if needed > free {
            return Err(Error::Memory { what: WORKSPACE, needed, available: Some(free) });
        }
        let array = |len: u64| DeviceArray::new(WORKSPACE, len as usize, device, &bound);
        let (rows, channels) = (direct.rows(), u64::from(direct.shape.out_channels));
        let workspace = Workspace {
            slice_mean: array(rows * direct.work.slices)?,
            slice_m2: array(rows * direct.work.slices)?,
            mean: array(rows)?,
            m2: array(rows)?,
            batch_mean: array(channels)?,
            batch_var: array(channels)?,
        };
        let stream = OwnStream::new(device, &bound)?;
        Ok(Self { problem: problem.clone(), direct, device: device.clone(), workspace, stream, staging: None })
    }

    /// Bytes of device memory for tensors given as host arrays: allocated by the first [`Self::run`].
    pub fn staging_bytes(&self) -> u64 {
        Staging::<T>::bytes(&self.problem)
    }

    /// Computes from host arrays, and waits for the result.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Memory`], [`Error::Cuda`]. After one the plan can be used again, unless the context is lost.
    pub fn run(&mut self, inputs: &Inputs<'_, T>) -> Result<Outputs<T>, Error> {
        let device = self.device.clone();
        let bound = device.bind()?;
        let stream = self.stream.raw();
        let launched = self.stage(inputs, &bound).and_then(|tensors| {
            // SAFETY: the staging arrays have the problem's lengths, and `stream` orders all their uses.
            unsafe { self.launch(&tensors, stream, &bound, |_| Ok(())) }
        });
        if launched.is_err() {
            // Page-locked inputs may still be on their way: they are the caller's again when this returns.
            let _ = stream.synchronize("waiting after a failure", &bound);
        }
        launched?;
        self.collect(inputs, &bound)
    }

    /// Puts the computation on `stream` and returns: asynchronous, no allocation, fit for capture in a CUDA graph.
    ///
    /// # Errors
    /// [`Error::Cuda`] where a launch fails; kernels that fail later say so when the stream is waited for.
    ///
    /// # Safety
    /// The addresses are of this device, hold the lengths of the plan's problem, and stay valid and unwritten by others
    /// until the stream has passed this point; `stream` is a stream of the device's primary context. Calls of one plan
    /// share its workspace: they are on one stream, or ordered by the caller.
    pub unsafe fn run_device(&mut self, stream: RawStream, tensors: &DeviceTensors) -> Result<(), Error> {
        check_addresses(&self.problem, tensors)?;
        let device = self.device.clone();
        let bound = device.bind()?;
        // SAFETY: the caller's promise.
        unsafe { self.launch(tensors, stream, &bound, |_| Ok(())) }
    }

    /// Refuses addresses that the device cannot reach, which would lose the context: plain host memory above all.
    ///
    /// # Errors
    /// [`CudaError::Argument`] with the tensor's name.
    pub fn check_reachable(&self, tensors: &DeviceTensors) -> Result<(), Error> {
        check_addresses(&self.problem, tensors)?;
        let _bound = self.device.bind()?;
        let named = [
            ("input", tensors.input),
            ("kernel", tensors.kernel),
            ("conv_bias", tensors.conv_bias),
            ("bn_weight", tensors.bn_weight),
            ("bn_bias", tensors.bn_bias),
            ("running_mean", tensors.running_mean),
            ("running_var", tensors.running_var),
            ("output", tensors.output),
        ];
        for (what, address) in named.into_iter().filter(|&(_, address)| address != 0) {
            let mut kind = 0u32;
            let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
            // SAFETY: writes one 32-bit number; any address may be asked about.
            let result = unsafe { sys::cuPointerGetAttribute((&raw mut kind).cast(), attribute, address) };
            if result == sys::CUresult::CUDA_ERROR_INVALID_VALUE {
                let found = format!("address {address:#x}, which the device cannot reach");
                return Err(CudaError::Argument { what, found, needed: "device memory".into() }.into());
            }
            check("asking about an address", result)?;
            if !address.is_multiple_of(T::DTYPE.bytes() as u64) {
                let (found, needed) = (format!("address {address:#x}"), format!("a multiple of {}", T::DTYPE.bytes()));
                return Err(CudaError::Argument { what, found, needed }.into());
            }
        }
        Ok(())
    }

    /// Copies the tensors to the device and gives their addresses there.
    pub(super) fn stage(&mut self, inputs: &Inputs<'_, T>, bound: &Bound<'_>) -> Result<DeviceTensors, Error> {
        inputs.check(&self.problem)?;
        let staging = match &mut self.staging {
            Some(staging) => staging,
            empty => empty.insert(Staging::new(&self.problem, &self.device, bound)?),
        };
        staging.upload(inputs, self.stream.raw(), bound)
    }

    /// Waits for the plan's stream and copies the results back.
    fn collect(&mut self, inputs: &Inputs<'_, T>, bound: &Bound<'_>) -> Result<Outputs<T>, Error> {
        let stream = self.stream.raw();
        let batch = match self.problem.uses_batch_statistics() {
            true => Some((&self.workspace.batch_mean, &self.workspace.batch_var)),
            false => None,
        };
        let staging = self.staging.as_ref().ok_or(CudaError::NothingStaged)?;
        staging.download(&self.problem, inputs, batch, stream, bound)
    }

    pub(super) fn stream(&self) -> RawStream {
        self.stream.raw()
    }

    /// The device it runs on.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    pub(super) fn direct(&self) -> &CudaDirect {
        &self.direct
    }

    /// The three kernels on `stream`; `after` is called before the first and after each.
    ///
    /// # Safety
    /// As [`Self::run_device`].
    pub(super) unsafe fn launch(
        &mut self,
        tensors: &DeviceTensors,
        stream: RawStream,
        bound: &Bound<'_>,
        mut after: impl FnMut(usize) -> Result<(), CudaError>,
    ) -> Result<(), Error> {
        let (direct, problem, workspace) = (self.direct, &self.problem, &mut self.workspace);
        let positions = direct.shape.positions();
        let (factor, training) = match problem.mode() {
            Mode::Train { momentum } => (momentum.factor(), true),
            Mode::Eval => (0.0, false),
        };
        after(0)?;
        let parameters = ConvTransposeMoments::<T> {
            input: Global::from_address(tensors.input),
            kernel: Global::from_address(tensors.kernel),
            mean: workspace.slice_mean.global_mut(),
            m2: workspace.slice_m2.global_mut(),
            scale: problem.scale_factor(),
            shape: direct.shape,
            work: direct.work,
        };
        // SAFETY: input and kernel are the caller's promise; the slices have rows·slices elements (`new`).
        unsafe { conv_transpose_moments::launch(&self.device, direct.form, &parameters, stream, bound)? };
        after(1)?;
        let parameters = BatchNormReduce {
            slice_mean: workspace.slice_mean.global(),
            slice_m2: workspace.slice_m2.global(),
            mean: workspace.mean.global_mut(),
            m2: workspace.m2.global_mut(),
            rows: direct.rows(),
            positions,
            tile_positions: u64::from(POSITIONS),
            work: direct.work,
        };
        // SAFETY: lengths as in `new`; the stream orders this after the slices are written.
        unsafe { batch_norm_reduce::launch(&self.device, &parameters, stream, bound)? };
        after(2)?;
        let running = problem.has_running_statistics();
        let parameters = PoolFinish::<T> {
            mean: workspace.mean.global(),
            m2: workspace.m2.global(),
            conv_bias: Global::from_address(tensors.conv_bias),
            bn_weight: Global::from_address(tensors.bn_weight),
            bn_bias: Global::from_address(tensors.bn_bias),
            running_mean: GlobalMut::from_address(tensors.running_mean),
            running_var: GlobalMut::from_address(tensors.running_var),
            output: GlobalMut::from_address(tensors.output),
            batch_mean: workspace.batch_mean.global_mut(),
            batch_var: workspace.batch_var.global_mut(),
            positions,
            scale: problem.scale_factor(),
            eps: problem.eps(),
            factor,
            batch: direct.shape.batch,
            channels: direct.shape.out_channels,
            normalize_by_running: u32::from(!problem.uses_batch_statistics()),
            update_running: u32::from(training && running),
        };
        // SAFETY: per-channel vectors and output are the caller's promise; running statistics are not null where a flag
        // uses them (`check_addresses`, or staging); the rest has the lengths of `new`.
        unsafe { pool_finish::launch(&self.device, &parameters, stream, bound)? };
        after(3)?;
        Ok(())
    }
}

const WORKSPACE: &str = "the plan's workspace on the device";

/// What can be told of addresses without following them.
pub(crate) fn check_addresses(problem: &Problem, tensors: &DeviceTensors) -> Result<(), CudaError> {
    let needed = [("input", tensors.input), ("kernel", tensors.kernel), ("output", tensors.output)];
    let running = [("running_mean", tensors.running_mean), ("running_var", tensors.running_var)];
    let needed = needed.into_iter().chain(running.into_iter().filter(|_| problem.has_running_statistics()));
    for (what, address) in needed {
        if address == 0 {
            return Err(CudaError::Argument { what, found: "a null pointer".into(), needed: "device memory".into() });
        }
    }
    Ok(())
}
