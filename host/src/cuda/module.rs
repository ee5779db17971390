//! The kernels: which PTX a device gets, loading it, and launching by typed handles.

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::ptr;

use cuda_std::launch::KernelSpec;
use cust::sys;
use kernel_gpu::batch_norm_reduce::{self, BatchNormReduce};
use kernel_gpu::conv_transpose_moments::{ConvTransposeMoments, FORMS};
use kernel_gpu::pool_finish::{self, PoolFinish};

use super::device::{Bound, DeviceFacts};
use super::error::{CudaError, check, failed};
use super::stream::RawStream;
use crate::element::{DType, Element};

/// The built kernels, committed with the sources: `cargo xtask build-ptx` makes them.
const PTX: [Ptx; 2] = [
    Ptx { target: "sm_90a", text: include_str!("../../ptx/kernel_gpu.sm_90a.ptx") },
    Ptx { target: "sm_80", text: include_str!("../../ptx/kernel_gpu.sm_80.ptx") },
];

struct Ptx {
    target: &'static str,
    text: &'static str,
}

impl Ptx {
    /// sm_90a is for compute capability 9.0 alone; sm_80 is for everything from 8.0 on.
    fn runs_on(&self, capability: (u32, u32)) -> bool {
        match self.target {
            "sm_90a" => capability == (9, 0),
            _ => capability >= (8, 0),
        }
    }

    /// The `.version` line.
    fn version(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix(".version ")).unwrap_or("").trim()
    }

    /// The first CUDA version whose driver reads this PTX (PTX ISA, "Release Notes"): 7.x came with CUDA 11.x, 8.x with
    /// 12.x, 9.x with 13.x.
    fn needs_cuda(&self) -> (u32, u32) {
        let mut parts = self.version().split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        (major + 4, minor)
    }
}

/// A loaded kernel that takes a parameter block `P`.
pub(super) struct Kernel<P> {
    function: sys::CUfunction,
    spec: KernelSpec,
    parameters: PhantomData<fn(P)>,
}

impl<P> Clone for Kernel<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for Kernel<P> {}

// SAFETY: a function's handle may be used from any thread in which its context is current.
unsafe impl<P> Send for Kernel<P> {}
// SAFETY: as for Send; nothing here is mutable.
unsafe impl<P> Sync for Kernel<P> {}

impl<P: Copy> Kernel<P> {
    /// Puts the kernel on `stream` with `blocks` blocks.
    ///
    /// # Safety
    /// The module is loaded; the kernel's own contract on `parameters` holds until it has run.
    pub(super) unsafe fn launch(
        &self,
        what: &'static str,
        blocks: u32,
        parameters: &P,
        stream: RawStream,
        bound: &Bound<'_>,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_with(what, blocks, self.spec.shared_bytes, parameters, stream, bound) }
    }

    /// The same, with dynamic shared memory of that size, which the kernel's function is set to allow.
    ///
    /// # Safety
    /// As [`Self::launch`].
    pub(super) unsafe fn launch_with(
        &self,
        what: &'static str,
        blocks: u32,
        shared_bytes: u32,
        parameters: &P,
        stream: RawStream,
        _bound: &Bound<'_>,
    ) -> Result<(), CudaError> {
        let mut arguments = [ptr::from_ref(parameters).cast_mut().cast::<c_void>()];
        // SAFETY: the driver copies the one argument, of the size the entry declares (a test compares it with size_of P),
        // before it returns; the rest is the caller's promise.
        let result = unsafe {
            sys::cuLaunchKernel(
                self.function,
                blocks,
                1,
                1,
                self.spec.threads,
                1,
                1,
                shared_bytes,
                stream.as_raw(),
                arguments.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        check(what, result)
    }
}

/// Every kernel of one loaded module.
pub(super) struct Kernels {
    module: sys::CUmodule,
    target: &'static str,
    /// In the order of [`FORMS`]; the parameter block is that of f32 or f64 as the name says.
    conv_transpose_moments: [sys::CUfunction; FORMS.len()],
    pub(super) batch_norm_reduce: Kernel<BatchNormReduce>,
    /// For f32 and for f64.
    pool_finish: [(sys::CUfunction, KernelSpec); 2],
}

// SAFETY: module and function handles may be used from any thread in which their context is current.
unsafe impl Send for Kernels {}
// SAFETY: as for Send; nothing here is mutable.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// Loads the best PTX for the device, or that of `target`, into the current context.
    pub(super) fn load(facts: &DeviceFacts, target: Option<&str>) -> Result<Self, CudaError> {
        let fits =
            |ptx: &&Ptx| ptx.runs_on(facts.compute_capability) && target.is_none_or(|target| ptx.target == target);
        // The best that the driver reads; where it reads none, the one that asks least of it says what is missing.
        let readable = PTX.iter().filter(fits).find(|ptx| facts.driver >= ptx.needs_cuda());
        let Some(ptx) = readable.or(PTX.iter().rfind(fits)) else {
            return Err(CudaError::DeviceTooOld {
                device: facts.name.clone(),
                found: facts.compute_capability,
                needed: if target == Some("sm_90a") { (9, 0) } else { (8, 0) },
            });
        };
        if facts.driver < ptx.needs_cuda() {
            return Err(CudaError::DriverTooOldForPtx {
                ptx: ptx.version().to_owned(),
                found: facts.driver,
                needed: ptx.needs_cuda(),
            });
        }
        let module = load_module(ptx)?;
        let function = |name: &str| function(module, name);
        let load = || {
            let mut conv_transpose_moments = [ptr::null_mut(); FORMS.len()];
            for (slot, form) in conv_transpose_moments.iter_mut().zip(FORMS) {
                *slot = function(form.spec.name)?;
            }
            Ok(Self {
                module,
                target: ptx.target,
                conv_transpose_moments,
                batch_norm_reduce: kernel(function(batch_norm_reduce::SPEC.name)?, batch_norm_reduce::SPEC),
                pool_finish: [
                    (function(pool_finish::SPEC_F32.name)?, pool_finish::SPEC_F32),
                    (function(pool_finish::SPEC_F64.name)?, pool_finish::SPEC_F64),
                ],
            })
        };
        load().inspect_err(|_| {
            // SAFETY: just loaded, and nothing refers to it.
            let _ = unsafe { sys::cuModuleUnload(module) };
        })
    }

    /// Looks up a kernel that few plans need, and lets its blocks have up to `shared_memory` bytes of dynamic shared memory: past
    /// 48 KiB the driver wants to be told.
    ///
    /// # Errors
    /// [`CudaError::Call`].
    pub(super) fn find<P>(
        &self,
        spec: KernelSpec,
        shared_memory: u32,
        _bound: &Bound<'_>,
    ) -> Result<Kernel<P>, CudaError> {
        let function = function(self.module, spec.name)?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared_memory).unwrap_or(i32::MAX);
        // SAFETY: the function was just looked up; setting the limit touches nothing else.
        check("allowing a kernel its shared memory", unsafe { sys::cuFuncSetAttribute(function, attribute, bytes) })?;
        Ok(kernel(function, spec))
    }

    /// The form of that index in [`FORMS`], whose values are of type `T`.
    pub(super) fn conv_transpose_moments<T>(&self, form: usize) -> Kernel<ConvTransposeMoments<T>> {
        kernel(self.conv_transpose_moments[form], FORMS[form].spec)
    }

    /// The form for `T`.
    pub(super) fn pool_finish<T: Element>(&self) -> Kernel<PoolFinish<T>> {
        let (function, spec) = self.pool_finish[usize::from(T::DTYPE == DType::F64)];
        kernel(function, spec)
    }

    /// The PTX target.
    pub(super) fn target(&self) -> &'static str {
        self.target
    }

    /// Unloads the module; its context is current, and no kernel of it is used again.
    pub(super) fn unload(&mut self) {
        // SAFETY: called once, from the drop of the device that owns all handles.
        let _ = unsafe { sys::cuModuleUnload(self.module) };
    }
}

fn kernel<P>(function: sys::CUfunction, spec: KernelSpec) -> Kernel<P> {
    Kernel { function, spec, parameters: PhantomData }
}

fn function(module: sys::CUmodule, name: &str) -> Result<sys::CUfunction, CudaError> {
    let name = CString::new(name).unwrap_or_default();
    let mut function = ptr::null_mut();
    // SAFETY: `module` is loaded and `name` is a C string; writes one pointer.
    check("looking up a kernel", unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) })?;
    Ok(function)
}

/// Loads PTX; a refusal carries what the driver's compiler said, which cust's own loading drops.
fn load_module(ptx: &Ptx) -> Result<sys::CUmodule, CudaError> {
    let text = CString::new(ptx.text).unwrap_or_default();
    let mut log = vec![0u8; 4096];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // Options are passed as pointers: the buffer, and its size in the place of a pointer.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(log.len())];
    let mut module = ptr::null_mut();
    // SAFETY: `text` is a C string; two options with their values; the driver writes at most 4096 bytes of log.
    let result = unsafe {
        sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    if result == sys::CUresult::CUDA_SUCCESS {
        return Ok(module);
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]).split_whitespace().collect::<Vec<_>>().join(" ");
    match failed("loading the kernels", result) {
        CudaError::Call { code, name, .. } => Err(CudaError::Module { target: ptx.target, code, name, log }),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_the_ptx_made_for_it() {
        let best = |capability| PTX.iter().find(|ptx| ptx.runs_on(capability)).map(|ptx| ptx.target);
        assert_eq!(best((7, 5)), None);
        assert_eq!(best((8, 0)), Some("sm_80"));
        assert_eq!(best((8, 9)), Some("sm_80"));
        assert_eq!(best((9, 0)), Some("sm_90a"));
        assert_eq!(best((10, 0)), Some("sm_80"), "sm_90a code runs on 9.0 alone");
        assert_eq!(best((12, 1)), Some("sm_80"));
    }

    #[test]
    fn ptx_versions_map_to_cuda_versions() {
        let of = |text| Ptx { target: "sm_80", text };
        assert_eq!(of(".version 7.0\n.target sm_80").needs_cuda(), (11, 0));
        assert_eq!(of("// x\n.version 8.0\n").needs_cuda(), (12, 0));
        for ptx in &PTX {
            assert!(ptx.needs_cuda() <= (12, 0), "{} needs CUDA {:?}", ptx.target, ptx.needs_cuda());
        }
    }
}
