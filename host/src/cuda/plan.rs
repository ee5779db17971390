//! A plan on a GPU: the launches of its way, one after the other, over memory that the plan owns.
//!
//! The ways are [`Direct`], [`TensorDirect`] and [`Spectral`], a file each; the plan holds what they share: the stream, the tensors of host
//! arrays, and the addresses' checks.
//!
//! [`CudaPlan::run_device`] only launches: no allocation, no waiting. [`CudaPlan::run`] takes host arrays; the device
//! memory it stages them in is allocated on its first call and kept.

use cust::sys;
use kernel_gpu::element::Tensor;

use super::branch::Branch;
use super::device::{Bound, CudaDevice};
use super::direct::Direct;
use super::error::{CudaError, check};
use super::spectral::Spectral;
use super::staging::Staging;
use super::stream::{OwnStream, RawStream};
use super::tensor::TensorDirect;
use crate::Error;
use crate::addresses::{Address, DeviceTensors};
use crate::element::{DType, Element, Storage};
use crate::memory;
pub(super) use crate::plan::WORKSPACE;
use crate::plan::{Backend, Cost, CudaRecipe, DeviceFacts, PlanOptions};
use crate::problem::Problem;
use crate::tensors::{InputError, Inputs, Outputs};

/// A problem made ready on a GPU.
pub struct CudaPlan<T: Storage> {
    problem: Problem,
    recipe: CudaRecipe,
    // Fields are dropped in order: the stream goes while `device` still retains the context that it is of.
    stream: OwnStream,
    /// For the way that has launches which need not wait for each other.
    branch: Option<Branch>,
    device: CudaDevice,
    way: Way<T::Wide>,
    staging: Option<Staging<T>>,
}

impl<T: Storage> std::fmt::Debug for CudaPlan<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaPlan").field("device", &self.device).field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

/// What computes, with its memory.
enum Way<T: Element> {
    Direct(Box<Direct<T>>),
    Tensor(Box<TensorDirect>),
    Spectral(Box<Spectral>),
}

/// Called behind each launch with the stage it belongs to; several launches may belong to one.
pub(super) type After<'a> = &'a mut dyn FnMut(&'static str) -> Result<(), CudaError>;

/// Where a launch goes.
pub(super) struct Target<'a> {
    pub(super) problem: &'a Problem,
    pub(super) tensors: &'a DeviceTensors,
    /// Of `input`, `kernel` and `conv_bias`.
    pub(super) dtype: DType,
    pub(super) stream: RawStream,
    /// Where launches that need not wait for each other may be beside them; none where each is to be timed alone.
    pub(super) branch: Option<&'a Branch>,
    pub(super) bound: &'a Bound<'a>,
}

impl Target<'_> {
    /// The tensor of the problem's type at that address, as kernels take it that compute in `W`.
    pub(super) fn tensor<W: Element>(&self, address: u64) -> Tensor<W> {
        Tensor::new(address, self.dtype.into())
    }

    pub(super) fn input<W: Element>(&self) -> Tensor<W> {
        self.tensor(self.tensors.input)
    }

    pub(super) fn kernel<W: Element>(&self) -> Tensor<W> {
        self.tensor(self.tensors.kernel)
    }
}

impl<T: Storage> CudaPlan<T> {
    /// Designs the plan and allocates what it needs.
    ///
    /// # Errors
    /// As [`design`](crate::plan::design); [`Error::Memory`] where the device has too little; [`Error::Cuda`].
    pub fn new(problem: &Problem, options: PlanOptions, device: &CudaDevice) -> Result<Self, Error> {
        let facts = DeviceFacts {
            backend: Backend::Cuda,
            threads: 0,
            available_memory: device.available_memory(),
            multiprocessors: device.facts().multiprocessors,
            shared_memory: device.facts().shared_memory,
            warpgroups: device.has_warpgroups(),
        };
        let (recipe, _) = CudaRecipe::design(problem, &facts, T::DTYPE, options)?;
        Self::build(problem, &recipe, device)
    }

    /// Allocates what a recipe needs, which was designed for this problem, device and element type.
    ///
    /// # Errors
    /// [`Error::Memory`] where the device has too little; [`Error::Cuda`].
    pub(crate) fn build(problem: &Problem, recipe: &CudaRecipe, device: &CudaDevice) -> Result<Self, Error> {
        let bound = device.bind()?;
        memory::check_among(WORKSPACE, recipe.workspace_bytes(), Some(device.free_memory(&bound)?))?;
        let stream = OwnStream::new(device, &bound)?;
        let way = match recipe {
            CudaRecipe::Direct(direct) => Way::Direct(Box::new(Direct::new(direct, device, &bound)?)),
            CudaRecipe::Tensor(tensor) => Way::Tensor(Box::new(TensorDirect::new(tensor, device, &bound)?)),
            CudaRecipe::Spectral(spectral) => {
                Way::Spectral(Box::new(Spectral::new(spectral, device, stream.raw(), &bound)?))
            }
        };
        let branch = match way {
            Way::Direct(_) => None,
            Way::Tensor(_) | Way::Spectral(_) => Some(Branch::new(device, &bound)?),
        };
        Ok(Self {
            problem: problem.clone(),
            recipe: *recipe,
            device: device.clone(),
            way,
            stream,
            branch,
            staging: None,
        })
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
        self.run_unrounded(inputs).map(Outputs::rounded)
    }

    /// [`run`](Self::run) with an output that is not rounded yet.
    pub(crate) fn run_unrounded(&mut self, inputs: &Inputs<'_, T>) -> Result<Outputs<f64>, Error> {
        let device = self.device.clone();
        let bound = device.bind()?;
        let stream = self.stream.raw();
        let launched = self.stage(inputs, &bound).and_then(|tensors| {
            // SAFETY: the staging arrays have the problem's lengths, and `stream` orders all their uses.
            unsafe { self.launch(&tensors, stream, &bound, None) }
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
        tensors.check::<T>(&self.problem)?;
        let device = self.device.clone();
        let bound = device.bind()?;
        // SAFETY: the caller's promise.
        unsafe { self.launch(tensors, stream, &bound, None) }
    }

    /// Takes the same problem with another count of batches, for the launches that follow.
    pub(crate) fn count_from(&mut self, problem: &Problem) {
        self.problem.clone_from(problem);
    }

    /// Refuses addresses that the device cannot reach, which would lose the context: plain host memory above all.
    ///
    /// # Errors
    /// [`Error::Input`] with the tensor's name.
    pub fn check_reachable(&self, tensors: &DeviceTensors) -> Result<(), Error> {
        tensors.check::<T>(&self.problem)?;
        let _bound = self.device.bind()?;
        for Address { tensor, at, .. } in tensors.each::<T>().into_iter().filter(|address| address.at != 0) {
            let mut kind = 0u32;
            let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
            // SAFETY: writes one 32-bit number; any address may be asked about.
            let result = unsafe { sys::cuPointerGetAttribute((&raw mut kind).cast(), attribute, at) };
            if result == sys::CUresult::CUDA_ERROR_INVALID_VALUE {
                return Err(InputError::Unreachable { tensor, address: at }.into());
            }
            check("asking about an address", result)?;
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
    fn collect(&mut self, inputs: &Inputs<'_, T>, bound: &Bound<'_>) -> Result<Outputs<f64>, Error> {
        let stream = self.stream.raw();
        let statistics = match &self.way {
            Way::Direct(direct) => direct.statistics(),
            Way::Tensor(tensor) => tensor.statistics(),
            Way::Spectral(spectral) => spectral.statistics(),
        };
        let batch = self.problem.uses_batch_statistics().then_some(statistics);
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

    /// The stages in the order in which they first come, and what each costs in one run.
    pub(super) fn stages(&self) -> Vec<(&'static str, Cost)> {
        match &self.way {
            Way::Direct(direct) => direct.stages(&self.problem, T::DTYPE),
            Way::Tensor(tensor) => tensor.stages(&self.problem, T::DTYPE),
            Way::Spectral(spectral) => spectral.stages(),
        }
    }

    /// All kernels on `stream`, or beside it and joined with it again. With an `after`, which is called behind each, all are on
    /// `stream`.
    ///
    /// # Safety
    /// As [`Self::run_device`].
    pub(super) unsafe fn launch(
        &mut self,
        tensors: &DeviceTensors,
        stream: RawStream,
        bound: &Bound<'_>,
        after: Option<After<'_>>,
    ) -> Result<(), Error> {
        let (branch, mut nothing) = (self.branch.as_ref().filter(|_| after.is_none()), |_| Ok(()));
        let after = after.unwrap_or(&mut nothing);
        let (problem, dtype) = (&self.problem, T::DTYPE);
        let target = Target { problem, tensors, dtype, stream, branch, bound };
        let launched = match &mut self.way {
            // SAFETY: the caller's promise; running statistics are not null where the problem has them
            // (`DeviceTensors::check`, or staging).
            Way::Direct(direct) => unsafe { direct.launch(&target, after) },
            // SAFETY: as above; the recipe is not for f64 (`CudaTensor::design`), so the tensors are computed in f32.
            Way::Tensor(tensor) => unsafe { tensor.launch(&target, after) },
            // SAFETY: as above; the recipe is not for f64 (`CudaSpectral::design`), so the tensors are computed in f32.
            Way::Spectral(spectral) => unsafe { spectral.launch(&target, after) },
        };
        Ok(launched?)
    }
}
