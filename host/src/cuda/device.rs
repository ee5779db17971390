//! A GPU: its primary context, its kernels, and who is current on this thread.
//!
//! The *primary* context is the one PyTorch and the CUDA runtime use: pointers of theirs are valid here. CUDA's current
//! context belongs to the thread, so every call into the driver happens under a [`Bound`], which puts the caller's back.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::sync::Arc;

use cust::context::Context;
use cust::device::{Device, DeviceAttribute};
use cust::sys;

use super::error::{CudaError, check, checked};
use super::module::Kernels;

/// The compute capability that the baseline PTX (sm_80) needs.
const NEEDED_CAPABILITY: (u32, u32) = (8, 0);

/// What there is to know about a GPU before using it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its number, as in `cuda:0`.
    pub ordinal: u32,
    /// Its name, as the driver gives it.
    pub name: String,
    /// (major, minor).
    pub compute_capability: (u32, u32),
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for.
    pub shared_memory: u32,
    /// Its memory in bytes.
    pub memory: u64,
    /// Its L2 cache in bytes.
    pub l2_cache: u64,
    /// The CUDA version that the driver supports, (major, minor).
    pub driver: (u32, u32),
}

/// A GPU, ready for plans. Cheap to clone.
#[derive(Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

struct Inner {
    facts: DeviceFacts,
    kernels: Kernels,
    context: Context,
}

/// The facts of every GPU.
///
/// # Errors
/// [`CudaError::Unavailable`] where there is no driver or no GPU; [`CudaError::Call`].
pub fn devices() -> Result<Vec<DeviceFacts>, CudaError> {
    let driver = cuda_loader::load()?;
    (0..driver.device_count()).map(|ordinal| facts(ordinal, driver.version())).collect()
}

fn facts(ordinal: u32, driver: (u32, u32)) -> Result<DeviceFacts, CudaError> {
    let device = checked("looking up the device", Device::get_device(ordinal))?;
    let attribute = |which| {
        let value = checked("reading the device's attributes", device.get_attribute(which))?;
        Ok::<u32, CudaError>(u32::try_from(value).unwrap_or(0))
    };
    let mut name = [0u8; 256];
    // SAFETY: the driver writes at most 256 bytes, NUL included, into `name`.
    let result = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), 256, device.as_raw()) };
    check("reading the device's name", result)?;
    let name = CStr::from_bytes_until_nul(&name).map_or_else(|_| "GPU".into(), |s| s.to_string_lossy().into_owned());
    Ok(DeviceFacts {
        ordinal,
        name,
        compute_capability: (
            attribute(DeviceAttribute::ComputeCapabilityMajor)?,
            attribute(DeviceAttribute::ComputeCapabilityMinor)?,
        ),
        multiprocessors: attribute(DeviceAttribute::MultiprocessorCount)?,
        shared_memory: opt_in_shared_memory(device)?,
        memory: checked("reading the device's memory", device.total_memory())? as u64,
        l2_cache: u64::from(attribute(DeviceAttribute::L2CacheSize)?),
        driver,
    })
}

/// Bytes of shared memory that a block may have at most, where its kernel is set to ask for them. (cust does not know it.)
fn opt_in_shared_memory(device: Device) -> Result<u32, CudaError> {
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    let mut bytes = 0;
    // SAFETY: writes one number.
    let result = unsafe { sys::cuDeviceGetAttribute(&mut bytes, attribute, device.as_raw()) };
    check("reading the device's attributes", result)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

impl CudaDevice {
    /// GPU `ordinal`, its primary context retained and one kernel loaded, to learn whether the driver reads them; it compiles the others when a
    /// plan asks, and keeps a cache.
    ///
    /// # Errors
    /// [`CudaError`]: no driver, no such device, a device or driver too old, a failed call.
    pub fn open(ordinal: u32) -> Result<Self, CudaError> {
        Self::open_with(ordinal, None)
    }

    /// As [`Self::open`], with the PTX of `target` instead of the best for the device: how tests reach every one.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[doc(hidden)]
    pub fn open_with(ordinal: u32, target: Option<&str>) -> Result<Self, CudaError> {
        let driver = cuda_loader::load()?;
        let count = driver.device_count();
        if ordinal >= count {
            return Err(CudaError::NoSuchDevice { ordinal, count });
        }
        let facts = facts(ordinal, driver.version())?;
        if facts.compute_capability < NEEDED_CAPABILITY {
            return Err(CudaError::DeviceTooOld {
                device: facts.name,
                found: facts.compute_capability,
                needed: NEEDED_CAPABILITY,
            });
        }
        let _previous = Previous::save()?;
        let device = checked("looking up the device", Device::get_device(ordinal))?;
        let context = checked("retaining the device's primary context", Context::new(device))?;
        // cust makes it current too, and does not say where that fails.
        // SAFETY: the context was just retained.
        check("making the device current", unsafe { sys::cuCtxSetCurrent(context.as_raw()) })?;
        let kernels = Kernels::load(&facts, target)?;
        Ok(Self { inner: Arc::new(Inner { facts, kernels, context }) })
    }

    /// The device that is current on this thread, 0 where none is.
    ///
    /// # Errors
    /// [`CudaError::Unavailable`], [`CudaError::Call`].
    pub fn current_ordinal() -> Result<u32, CudaError> {
        cuda_loader::load()?;
        if Previous::save()?.0.is_null() {
            return Ok(0);
        }
        let mut device = 0;
        // SAFETY: writes one number; a context is current.
        check("asking for the current device", unsafe { sys::cuCtxGetDevice(&mut device) })?;
        Ok(u32::try_from(device).unwrap_or(0))
    }

    /// What it is.
    pub fn facts(&self) -> &DeviceFacts {
        &self.inner.facts
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.facts.name
    }

    /// The target of the PTX in use, such as `sm_90a`.
    pub fn ptx_target(&self) -> &'static str {
        self.inner.kernels.target()
    }

    /// Whether its kernels multiply four warps together on the tensor cores.
    pub(crate) fn has_warpgroups(&self) -> bool {
        self.ptx_target() == "sm_90a"
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.inner.kernels
    }

    /// Makes the device current on this thread until the value is dropped.
    pub(super) fn bind(&self) -> Result<Bound<'_>, CudaError> {
        self.inner.bind()
    }

    /// Bytes of device memory that are free now, where the driver says so.
    pub fn available_memory(&self) -> Option<u64> {
        self.free_memory(&self.bind().ok()?).ok()
    }

    /// Bytes of device memory that are free now.
    pub(super) fn free_memory(&self, _bound: &Bound<'_>) -> Result<u64, CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers; a context is current, which `_bound` proves.
        check("asking for free memory", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(free as u64)
    }
}

impl Inner {
    fn bind(&self) -> Result<Bound<'_>, CudaError> {
        let previous = Previous::save()?;
        // SAFETY: the context is retained as long as `self` lives, and `Bound` borrows it.
        check("making the device current", unsafe { sys::cuCtxSetCurrent(self.context.as_raw()) })?;
        Ok(Bound { _previous: previous, _device: PhantomData })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The context field is released after this. A failure to unload has nobody to go to.
        let Ok(_previous) = Previous::save() else { return };
        // SAFETY: the context is still retained.
        if unsafe { sys::cuCtxSetCurrent(self.context.as_raw()) } == sys::CUresult::CUDA_SUCCESS {
            self.kernels.unload();
        }
    }
}

/// Proof that a device is current on this thread; puts back what was current before.
pub(super) struct Bound<'a> {
    _previous: Previous,
    _device: PhantomData<&'a Inner>,
}

/// The thread's current context, to be put back. Not `Send`: it is this thread's.
struct Previous(sys::CUcontext);

impl Previous {
    fn save() -> Result<Self, CudaError> {
        let mut current = std::ptr::null_mut();
        // SAFETY: writes one pointer.
        check("asking for the current context", unsafe { sys::cuCtxGetCurrent(&mut current) })?;
        Ok(Self(current))
    }
}

impl Drop for Previous {
    fn drop(&mut self) {
        // SAFETY: it was current on this thread when this was made; null means none.
        let _ = unsafe { sys::cuCtxSetCurrent(self.0) };
    }
}

impl std::fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaDevice").field("facts", self.facts()).field("ptx", &self.ptx_target()).finish()
    }
}
