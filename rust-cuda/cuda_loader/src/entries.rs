//! The table of entries: every driver function that cust_raw 0.11.3 declares, with its arity.
//!
//! One name a driver symbol, spelled as `libcuda.so.1` exports it (so `cuMemAlloc_v2`, not
//! `cuMemAlloc`), followed by its number of arguments. cust refers to about a hundred of them; the
//! rest is what a program reaches through `cust::sys`. With all of them here no call into cust_raw
//! fails to link.
//!
//! An entry passes its arguments on as machine words (see `linux.rs`), so each of them must be an
//! integer or a pointer of at most 8 bytes. The tests check this against cust_raw's own signatures.
//! Five functions of cust_raw do not qualify and are left out, so that using one is a link error:
//!
//! | function | why |
//! |---|---|
//! | `cuParamSetf`, `cuTexRefSetMipmapLevelBias`, `cuTexRefSetMipmapLevelClamp` | a `float` travels in a vector register |
//! | `cuIpcOpenEventHandle`, `cuIpcOpenMemHandle_v2` | a 64-byte structure by value |

/// Hands the whole table, `name arity, name arity, …`, to the macro named.
macro_rules! for_each_entry {
    ($consumer:ident) => {
        $consumer! {
            // Errors.
            cuGetErrorString 2, cuGetErrorName 2,
            // Start.
            cuInit 1, cuDriverGetVersion 1,
            // Devices.
            cuDeviceGet 2, cuDeviceGetCount 1, cuDeviceGetName 3, cuDeviceGetUuid 2,
            cuDeviceGetUuid_v2 2, cuDeviceGetLuid 3, cuDeviceTotalMem_v2 2,
            cuDeviceGetTexture1DLinearMaxWidth 4, cuDeviceGetAttribute 3,
            cuDeviceGetNvSciSyncAttributes 3, cuDeviceSetMemPool 2, cuDeviceGetMemPool 2,
            cuDeviceGetDefaultMemPool 2, cuFlushGPUDirectRDMAWrites 2,
            cuDeviceGetProperties 2, cuDeviceComputeCapability 3,
            // Contexts.
            cuDevicePrimaryCtxRetain 2, cuDevicePrimaryCtxRelease_v2 1,
            cuDevicePrimaryCtxSetFlags_v2 2, cuDevicePrimaryCtxGetState 3,
            cuDevicePrimaryCtxReset_v2 1, cuDeviceGetExecAffinitySupport 3,
            cuCtxCreate_v2 3, cuCtxCreate_v3 5, cuCtxDestroy_v2 1, cuCtxPushCurrent_v2 1,
            cuCtxPopCurrent_v2 1, cuCtxSetCurrent 1, cuCtxGetCurrent 1, cuCtxGetDevice 1,
            cuCtxGetFlags 1, cuCtxSynchronize 0, cuCtxSetLimit 2, cuCtxGetLimit 2,
            cuCtxGetCacheConfig 1, cuCtxSetCacheConfig 1, cuCtxGetSharedMemConfig 1,
            cuCtxSetSharedMemConfig 1, cuCtxGetApiVersion 2,
            cuCtxGetStreamPriorityRange 2, cuCtxResetPersistingL2Cache 0,
            cuCtxGetExecAffinity 2, cuCtxAttach 2, cuCtxDetach 1,
            // Modules and the linker.
            cuModuleLoad 2, cuModuleLoadData 2, cuModuleLoadDataEx 5,
            cuModuleLoadFatBinary 2, cuModuleUnload 1, cuModuleGetFunction 3,
            cuModuleGetGlobal_v2 4, cuModuleGetTexRef 3, cuModuleGetSurfRef 3,
            cuLinkCreate_v2 4, cuLinkAddData_v2 8, cuLinkAddFile_v2 6, cuLinkComplete 3,
            cuLinkDestroy 1,
            // Memory.
            cuMemGetInfo_v2 2, cuMemAlloc_v2 2, cuMemAllocPitch_v2 5, cuMemFree_v2 1,
            cuMemGetAddressRange_v2 3, cuMemAllocHost_v2 2, cuMemFreeHost 1,
            cuMemHostAlloc 3, cuMemHostGetDevicePointer_v2 3, cuMemHostGetFlags 2,
            cuMemAllocManaged 3, cuDeviceGetByPCIBusId 2, cuDeviceGetPCIBusId 3,
            cuIpcGetEventHandle 2, cuIpcGetMemHandle 2, cuIpcCloseMemHandle 1,
            cuMemHostRegister_v2 3, cuMemHostUnregister 1,
            // Copies.
            cuMemcpy 3, cuMemcpyPeer 5, cuMemcpyHtoD_v2 3, cuMemcpyDtoH_v2 3,
            cuMemcpyDtoD_v2 3, cuMemcpyDtoA_v2 4, cuMemcpyAtoD_v2 4, cuMemcpyHtoA_v2 4,
            cuMemcpyAtoH_v2 4, cuMemcpyAtoA_v2 5, cuMemcpy2D_v2 1,
            cuMemcpy2DUnaligned_v2 1, cuMemcpy3D_v2 1, cuMemcpy3DPeer 1, cuMemcpyAsync 4,
            cuMemcpyPeerAsync 6, cuMemcpyHtoDAsync_v2 4, cuMemcpyDtoHAsync_v2 4,
            cuMemcpyDtoDAsync_v2 4, cuMemcpyHtoAAsync_v2 5, cuMemcpyAtoHAsync_v2 5,
            cuMemcpy2DAsync_v2 2, cuMemcpy3DAsync_v2 2, cuMemcpy3DPeerAsync 2,
            // Filling.
            cuMemsetD8_v2 3, cuMemsetD16_v2 3, cuMemsetD32_v2 3, cuMemsetD2D8_v2 5,
            cuMemsetD2D16_v2 5, cuMemsetD2D32_v2 5, cuMemsetD8Async 4, cuMemsetD16Async 4,
            cuMemsetD32Async 4, cuMemsetD2D8Async 6, cuMemsetD2D16Async 6,
            cuMemsetD2D32Async 6,
            // Arrays.
            cuArrayCreate_v2 2, cuArrayGetDescriptor_v2 2, cuArrayGetSparseProperties 2,
            cuMipmappedArrayGetSparseProperties 2, cuArrayGetPlane 3, cuArrayDestroy 1,
            cuArray3DCreate_v2 2, cuArray3DGetDescriptor_v2 2, cuMipmappedArrayCreate 3,
            cuMipmappedArrayGetLevel 3, cuMipmappedArrayDestroy 1,
            // Virtual memory.
            cuMemAddressReserve 5, cuMemAddressFree 2, cuMemCreate 4, cuMemRelease 1,
            cuMemMap 5, cuMemMapArrayAsync 3, cuMemUnmap 2, cuMemSetAccess 4,
            cuMemGetAccess 3, cuMemExportToShareableHandle 4,
            cuMemImportFromShareableHandle 3, cuMemGetAllocationGranularity 3,
            cuMemGetAllocationPropertiesFromHandle 2, cuMemRetainAllocationHandle 2,
            // Memory in stream order.
            cuMemFreeAsync 2, cuMemAllocAsync 3, cuMemPoolTrimTo 2,
            cuMemPoolSetAttribute 3, cuMemPoolGetAttribute 3, cuMemPoolSetAccess 3,
            cuMemPoolGetAccess 3, cuMemPoolCreate 2, cuMemPoolDestroy 1,
            cuMemAllocFromPoolAsync 4, cuMemPoolExportToShareableHandle 4,
            cuMemPoolImportFromShareableHandle 4, cuMemPoolExportPointer 2,
            cuMemPoolImportPointer 3,
            // Pointers and managed memory.
            cuPointerGetAttribute 3, cuMemPrefetchAsync 4, cuMemAdvise 4,
            cuMemRangeGetAttribute 5, cuMemRangeGetAttributes 6, cuPointerSetAttribute 3,
            cuPointerGetAttributes 4,
            // Streams.
            cuStreamCreate 2, cuStreamCreateWithPriority 3, cuStreamGetPriority 2,
            cuStreamGetFlags 2, cuStreamGetCtx 2, cuStreamWaitEvent 3,
            cuStreamAddCallback 4, cuStreamBeginCapture_v2 2,
            cuThreadExchangeStreamCaptureMode 1, cuStreamEndCapture 2,
            cuStreamIsCapturing 2, cuStreamGetCaptureInfo 3, cuStreamGetCaptureInfo_v2 6,
            cuStreamUpdateCaptureDependencies 4, cuStreamAttachMemAsync 4,
            cuStreamQuery 1, cuStreamSynchronize 1, cuStreamDestroy_v2 1,
            cuStreamCopyAttributes 2, cuStreamGetAttribute 3, cuStreamSetAttribute 3,
            // Events.
            cuEventCreate 2, cuEventRecord 2, cuEventRecordWithFlags 3, cuEventQuery 1,
            cuEventSynchronize 1, cuEventDestroy_v2 1, cuEventElapsedTime 3,
            // Other programming interfaces' memory and semaphores.
            cuImportExternalMemory 2, cuExternalMemoryGetMappedBuffer 3,
            cuExternalMemoryGetMappedMipmappedArray 3, cuDestroyExternalMemory 1,
            cuImportExternalSemaphore 2, cuSignalExternalSemaphoresAsync 4,
            cuWaitExternalSemaphoresAsync 4, cuDestroyExternalSemaphore 1,
            // Waiting on memory.
            cuStreamWaitValue32 4, cuStreamWaitValue64 4, cuStreamWriteValue32 4,
            cuStreamWriteValue64 4, cuStreamBatchMemOp 4,
            // Functions and launches.
            cuFuncGetAttribute 3, cuFuncSetAttribute 3, cuFuncSetCacheConfig 2,
            cuFuncSetSharedMemConfig 2, cuFuncGetModule 2, cuLaunchKernel 11,
            cuLaunchCooperativeKernel 10, cuLaunchCooperativeKernelMultiDevice 3,
            cuLaunchHostFunc 3, cuFuncSetBlockShape 4, cuFuncSetSharedSize 2,
            cuParamSetSize 2, cuParamSeti 3, cuParamSetv 4, cuLaunch 1, cuLaunchGrid 3,
            cuLaunchGridAsync 4, cuParamSetTexRef 3,
            // Graphs.
            cuGraphCreate 2, cuGraphAddKernelNode 5, cuGraphKernelNodeGetParams 2,
            cuGraphKernelNodeSetParams 2, cuGraphAddMemcpyNode 6,
            cuGraphMemcpyNodeGetParams 2, cuGraphMemcpyNodeSetParams 2,
            cuGraphAddMemsetNode 6, cuGraphMemsetNodeGetParams 2,
            cuGraphMemsetNodeSetParams 2, cuGraphAddHostNode 5,
            cuGraphHostNodeGetParams 2, cuGraphHostNodeSetParams 2,
            cuGraphAddChildGraphNode 5, cuGraphChildGraphNodeGetGraph 2,
            cuGraphAddEmptyNode 4, cuGraphAddEventRecordNode 5,
            cuGraphEventRecordNodeGetEvent 2, cuGraphEventRecordNodeSetEvent 2,
            cuGraphAddEventWaitNode 5, cuGraphEventWaitNodeGetEvent 2,
            cuGraphEventWaitNodeSetEvent 2, cuGraphAddExternalSemaphoresSignalNode 5,
            cuGraphExternalSemaphoresSignalNodeGetParams 2,
            cuGraphExternalSemaphoresSignalNodeSetParams 2,
            cuGraphAddExternalSemaphoresWaitNode 5,
            cuGraphExternalSemaphoresWaitNodeGetParams 2,
            cuGraphExternalSemaphoresWaitNodeSetParams 2, cuGraphAddMemAllocNode 5,
            cuGraphMemAllocNodeGetParams 2, cuGraphAddMemFreeNode 5,
            cuGraphMemFreeNodeGetParams 2, cuDeviceGraphMemTrim 1,
            cuDeviceGetGraphMemAttribute 3, cuDeviceSetGraphMemAttribute 3,
            cuGraphClone 2, cuGraphNodeFindInClone 3, cuGraphNodeGetType 2,
            cuGraphGetNodes 3, cuGraphGetRootNodes 3, cuGraphGetEdges 4,
            cuGraphNodeGetDependencies 3, cuGraphNodeGetDependentNodes 3,
            cuGraphAddDependencies 4, cuGraphRemoveDependencies 4, cuGraphDestroyNode 1,
            cuGraphInstantiate_v2 5, cuGraphInstantiateWithFlags 3,
            cuGraphExecKernelNodeSetParams 3, cuGraphExecMemcpyNodeSetParams 4,
            cuGraphExecMemsetNodeSetParams 4, cuGraphExecHostNodeSetParams 3,
            cuGraphExecChildGraphNodeSetParams 3, cuGraphExecEventRecordNodeSetEvent 3,
            cuGraphExecEventWaitNodeSetEvent 3,
            cuGraphExecExternalSemaphoresSignalNodeSetParams 3,
            cuGraphExecExternalSemaphoresWaitNodeSetParams 3, cuGraphUpload 2,
            cuGraphLaunch 2, cuGraphExecDestroy 1, cuGraphDestroy 1, cuGraphExecUpdate 4,
            cuGraphKernelNodeCopyAttributes 2, cuGraphKernelNodeGetAttribute 3,
            cuGraphKernelNodeSetAttribute 3, cuGraphDebugDotPrint 3, cuUserObjectCreate 5,
            cuUserObjectRetain 2, cuUserObjectRelease 2, cuGraphRetainUserObject 4,
            cuGraphReleaseUserObject 3,
            // Occupancy.
            cuOccupancyMaxActiveBlocksPerMultiprocessor 4,
            cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags 5,
            cuOccupancyMaxPotentialBlockSize 6,
            cuOccupancyMaxPotentialBlockSizeWithFlags 7,
            cuOccupancyAvailableDynamicSMemPerBlock 4,
            // Textures and surfaces.
            cuTexRefSetArray 3, cuTexRefSetMipmappedArray 3, cuTexRefSetAddress_v2 4,
            cuTexRefSetAddress2D_v3 4, cuTexRefSetFormat 3, cuTexRefSetAddressMode 3,
            cuTexRefSetFilterMode 2, cuTexRefSetMipmapFilterMode 2,
            cuTexRefSetMaxAnisotropy 2, cuTexRefSetBorderColor 2, cuTexRefSetFlags 2,
            cuTexRefGetAddress_v2 2, cuTexRefGetArray 2, cuTexRefGetMipmappedArray 2,
            cuTexRefGetAddressMode 3, cuTexRefGetFilterMode 2, cuTexRefGetFormat 3,
            cuTexRefGetMipmapFilterMode 2, cuTexRefGetMipmapLevelBias 2,
            cuTexRefGetMipmapLevelClamp 3, cuTexRefGetMaxAnisotropy 2,
            cuTexRefGetBorderColor 2, cuTexRefGetFlags 2, cuTexRefCreate 1,
            cuTexRefDestroy 1, cuSurfRefSetArray 3, cuSurfRefGetArray 2,
            cuTexObjectCreate 4, cuTexObjectDestroy 1, cuTexObjectGetResourceDesc 2,
            cuTexObjectGetTextureDesc 2, cuTexObjectGetResourceViewDesc 2,
            cuSurfObjectCreate 2, cuSurfObjectDestroy 1, cuSurfObjectGetResourceDesc 2,
            // Peers.
            cuDeviceCanAccessPeer 3, cuCtxEnablePeerAccess 2, cuCtxDisablePeerAccess 1,
            cuDeviceGetP2PAttribute 4,
            // Graphics.
            cuGraphicsUnregisterResource 1, cuGraphicsSubResourceGetMappedArray 4,
            cuGraphicsResourceGetMappedMipmappedArray 2,
            cuGraphicsResourceGetMappedPointer_v2 3, cuGraphicsResourceSetMapFlags_v2 2,
            cuGraphicsMapResources 3, cuGraphicsUnmapResources 3,
            // Tools.
            cuGetProcAddress 4, cuGetExportTable 2, cuProfilerInitialize 3,
            cuProfilerStart 0, cuProfilerStop 0,
        }
    };
}
pub(crate) use for_each_entry;

macro_rules! declare {
    ($($name:ident $arity:tt,)*) => {
        /// An entry's place in the table.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Entry {
            $($name,)*
        }

        impl Entry {
            /// All entries, in the order of the table.
            pub(crate) const ALL: &[Entry] = &[$(Entry::$name,)*];

            /// The name of the driver's symbol.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Entry::$name => stringify!($name),)*
                }
            }
        }
    };
}
for_each_entry!(declare);

impl Entry {
    /// What no kernel can run without. The rest may be missing from a driver: such an entry
    /// returns `CUDA_ERROR_NOT_FOUND`.
    pub(crate) const ESSENTIAL: &[Entry] = &[
        Entry::cuInit,
        Entry::cuDriverGetVersion,
        Entry::cuDeviceGet,
        Entry::cuDeviceGetCount,
        Entry::cuDeviceGetAttribute,
        Entry::cuDevicePrimaryCtxRetain,
        Entry::cuCtxSetCurrent,
        Entry::cuCtxSynchronize,
        Entry::cuModuleLoadDataEx,
        Entry::cuModuleGetFunction,
        Entry::cuMemAlloc_v2,
        Entry::cuMemFree_v2,
        Entry::cuMemcpyHtoD_v2,
        Entry::cuMemcpyDtoH_v2,
        Entry::cuLaunchKernel,
        Entry::cuStreamSynchronize,
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Write, stderr};

    use cust::sys::*;

    use super::Entry;

    /// What an entry can pass on: an integer or a pointer of at most 8 bytes.
    trait Word {}
    impl<T> Word for *const T {}
    impl<T> Word for *mut T {}
    macro_rules! words {
        ($($type:ty,)*) => { $(impl Word for $type {})* };
    }
    words! {
        u8, u16, u32, i32, u64, usize, CUhostFn, CUstreamCallback, CUoccupancyB2DSize, CUresult,
        CUaddress_mode, CUarray_format, CUdevice_P2PAttribute, CUdevice_attribute,
        CUexecAffinityType, CUfilter_mode, CUflushGPUDirectRDMAWritesScope,
        CUflushGPUDirectRDMAWritesTarget, CUfunc_cache, CUfunction_attribute, CUgraphMem_attribute,
        CUjitInputType, CUkernelNodeAttrID, CUlimit, CUmemAllocationGranularity_flags,
        CUmemAllocationHandleType, CUmemPool_attribute, CUmem_advise, CUmem_range_attribute,
        CUoutput_mode, CUpointer_attribute, CUsharedconfig, CUstreamAttrID, CUstreamCaptureMode,
    }

    macro_rules! arities {
        ($($check:ident($($word:ident),*);)*) => { $(
            fn $check<$($word: Word),*>(_: unsafe extern "C" fn($($word),*) -> CUresult) {
                $(assert!(size_of::<$word>() <= 8);)*
            }
        )* };
    }
    arities! {
        check0(); check1(A); check2(A, B); check3(A, B, C); check4(A, B, C, D);
        check5(A, B, C, D, E); check6(A, B, C, D, E, F); check7(A, B, C, D, E, F, G);
        check8(A, B, C, D, E, F, G, H); check10(A, B, C, D, E, F, G, H, I, J);
        check11(A, B, C, D, E, F, G, H, I, J, K);
    }
    macro_rules! check {
        ($name:ident 0) => {
            check0($name)
        };
        ($name:ident 1) => {
            check1($name)
        };
        ($name:ident 2) => {
            check2($name)
        };
        ($name:ident 3) => {
            check3($name)
        };
        ($name:ident 4) => {
            check4($name)
        };
        ($name:ident 5) => {
            check5($name)
        };
        ($name:ident 6) => {
            check6($name)
        };
        ($name:ident 7) => {
            check7($name)
        };
        ($name:ident 8) => {
            check8($name)
        };
        ($name:ident 10) => {
            check10($name)
        };
        ($name:ident 11) => {
            check11($name)
        };
    }

    /// That this compiles is most of the test: a wrong arity, a `float` or a structure by value
    /// does not.
    #[test]
    fn every_entry_has_the_arity_and_the_words_of_cust_raws_declaration() {
        macro_rules! check_all {
            ($($name:ident $arity:tt,)*) => { $(check!($name $arity);)* };
        }
        for_each_entry!(check_all);
    }

    /// cust_raw's source, through the list of sources that the compiler wrote beside this test
    /// when it compiled cust_raw.
    fn source_of_cust_raw() -> Option<String> {
        let deps = std::env::current_exe().ok()?.parent()?.read_dir().ok()?;
        let mut lists = deps.flatten().map(|file| file.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("cust_raw-") && name.ends_with(".d")
        });
        let list = std::fs::read_to_string(lists.next()?).ok()?;
        let source = list.lines().find_map(|line| line.strip_suffix("cuda.rs:"))?;
        std::fs::read_to_string(format!("{source}cuda.rs")).ok()
    }

    #[test]
    fn the_table_is_cust_raws_functions_but_for_the_five_named_above() {
        let Some(source) = source_of_cust_raw() else {
            // Past the capture of a passing test's output.
            let _ = writeln!(stderr(), "skipped: cust_raw's sources are not on this machine");
            return;
        };
        let declared: BTreeSet<&str> = source
            .split("pub fn ")
            .skip(1)
            .map(|rest| rest.split('(').next().unwrap())
            .filter(|name| name.starts_with("cu"))
            .collect();

        let mut covered: BTreeSet<&str> = Entry::ALL.iter().map(|entry| entry.name()).collect();
        assert_eq!(covered.len(), Entry::ALL.len(), "a name is in the table twice");
        covered.extend([
            "cuParamSetf",
            "cuTexRefSetMipmapLevelBias",
            "cuTexRefSetMipmapLevelClamp",
            "cuIpcOpenEventHandle",
            "cuIpcOpenMemHandle_v2",
        ]);
        assert_eq!(covered, declared);
    }
}
