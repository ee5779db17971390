//! The kernels: which PTX a device gets, loading what of it is needed, and launching by typed handles.

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cuda_std::launch::KernelSpec;
use cust::sys;
use kernel_gpu::batch_norm_reduce;

use super::device::{Bound, DeviceFacts};
use super::error::{CudaError, check, failed};
use super::programmatic_launch::ProgrammaticLaunch;
use super::stream::RawStream;

/// The built kernels, committed with the sources: `cargo xtask build-ptx` makes them.
const PTX: [Ptx; 2] = [
    Ptx { target: "sm_90a", text: include_str!("../../ptx/kernel_gpu.sm_90a.ptx") },
    Ptx { target: "sm_80", text: include_str!("../../ptx/kernel_gpu.sm_80.ptx") },
];

/// What a kernel begins with.
const ENTRY: &str = ".visible .entry ";

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

    /// The module of one kernel: what comes before the first entry, and that entry. Kernels call no functions.
    fn of(&self, name: &str) -> String {
        let mut entries = self.text.split(ENTRY);
        let head = entries.next().unwrap_or("");
        let body = entries.find(|body| body.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')));
        body.map_or_else(|| head.to_owned(), |body| [head, ENTRY, body].concat())
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
    early: Option<ProgrammaticLaunch>,
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
    /// The same, whose blocks begin when the grid ahead has ended, and not before: with all multiprocessors free they are dealt out evenly. Early
    /// blocks, where there are fewer than fit, crowd those that were free first.
    pub(super) fn dealt_evenly(self) -> Self {
        Self { early: None, ..self }
    }

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
        // before it returns; `#[kernel]` makes each kernel wait; the rest is the caller's promise.
        unsafe {
            if let Some(early) = self.early {
                let sizes = [blocks, self.spec.threads, shared_bytes];
                return early.launch(what, self.function, sizes, stream.as_raw(), arguments.as_mut_ptr());
            }
            let result = sys::cuLaunchKernel(
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
            );
            check(what, result)
        }
    }
}

/// The kernels of one device, each compiled by the driver when a plan first asks for it: all of them would take it many seconds.
pub(super) struct Kernels {
    ptx: &'static Ptx,
    early: Option<ProgrammaticLaunch>,
    loaded: Mutex<Vec<Loaded>>,
}

/// A module of one kernel.
#[derive(Clone, Copy)]
struct Loaded {
    name: &'static str,
    module: sys::CUmodule,
    function: sys::CUfunction,
}

// SAFETY: module and function handles may be used from any thread in which their context is current.
unsafe impl Send for Loaded {}

impl Kernels {
    /// Takes the best PTX for the device, or that of `target`; one kernel is loaded into the current context, to learn whether the driver
    /// reads it.
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
        let early = ProgrammaticLaunch::find(ptx.target, facts.driver)?;
        let kernels = Self { ptx, early, loaded: Mutex::new(Vec::new()) };
        kernels.function(batch_norm_reduce::SPEC.name)?;
        Ok(kernels)
    }

    /// The kernel of that launch, whose blocks may have as much dynamic shared memory as it says.
    ///
    /// # Errors
    /// [`CudaError::Call`], [`CudaError::Module`].
    pub(super) fn get<P>(&self, spec: KernelSpec, _bound: &Bound<'_>) -> Result<Kernel<P>, CudaError> {
        Ok(Kernel { function: self.function(spec.name)?, spec, early: self.early, parameters: PhantomData })
    }

    /// The same, whose blocks may have up to `shared_memory` bytes of dynamic shared memory: past 48 KiB the driver wants to be told.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn find<P>(
        &self,
        spec: KernelSpec,
        shared_memory: u32,
        bound: &Bound<'_>,
    ) -> Result<Kernel<P>, CudaError> {
        let kernel = self.get(spec, bound)?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared_memory).unwrap_or(i32::MAX);
        // SAFETY: the function was just looked up; setting the limit touches nothing else.
        let set = unsafe { sys::cuFuncSetAttribute(kernel.function, attribute, bytes) };
        check("allowing a kernel its shared memory", set)?;
        Ok(kernel)
    }

    /// The function of that name; its context is current.
    fn function(&self, name: &'static str) -> Result<sys::CUfunction, CudaError> {
        // A panic while it was held has left whole entries.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.iter().find(|known| known.name == name) {
            return Ok(known.function);
        }
        let module = load_module(self.ptx.target, &self.ptx.of(name))?;
        let function = function(module, name).inspect_err(|_| {
            // SAFETY: just loaded, and nothing refers to it.
            let _ = unsafe { sys::cuModuleUnload(module) };
        })?;
        loaded.push(Loaded { name, module, function });
        Ok(function)
    }

    /// The PTX target.
    pub(super) fn target(&self) -> &'static str {
        self.ptx.target
    }

    /// Unloads the modules; their context is current, and no kernel of them is used again.
    pub(super) fn unload(&mut self) {
        for loaded in self.loaded.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // SAFETY: called once, from the drop of the device that owns all handles.
            let _ = unsafe { sys::cuModuleUnload(loaded.module) };
        }
    }
}

fn function(module: sys::CUmodule, name: &str) -> Result<sys::CUfunction, CudaError> {
    let name = CString::new(name).unwrap_or_default();
    let mut function = ptr::null_mut();
    // SAFETY: `module` is loaded and `name` is a C string; writes one pointer.
    check("looking up a kernel", unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) })?;
    Ok(function)
}

/// Loads PTX; a refusal carries what the driver's compiler said, which cust's own loading drops.
fn load_module(target: &'static str, text: &str) -> Result<sys::CUmodule, CudaError> {
    let text = CString::new(text).unwrap_or_default();
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
        CudaError::Call { code, name, .. } => Err(CudaError::Module { target, code, name, log }),
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
    fn a_module_of_one_kernel_has_all_that_it_needs() {
        for ptx in &PTX {
            for entry in &kernel_gpu::entries::ENTRIES {
                let module = ptx.of(entry.spec.name);
                assert!(module.contains(&format!("{ENTRY}{}(", entry.spec.name)), "{}", entry.spec.name);
                assert_eq!(module.matches(".entry").count(), 1);
                assert_eq!(module.matches('{').count(), module.matches('}').count());
                assert!(module.trim_end().ends_with('}') && module.contains(".version"));
            }
            assert!(!ptx.text.contains(".func") && !ptx.of("volume").contains(".entry"));
        }
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
