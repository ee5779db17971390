/* A driver library of chosen answers: INIT_RESULT, VERSION and DEVICES come from the command line.
   ONLY_INIT leaves all other symbols out. */

unsigned cuInit(unsigned flags) { return flags == 0 ? INIT_RESULT : 1; }

#ifndef ONLY_INIT
unsigned cuDriverGetVersion(int *version) { *version = VERSION; return INIT_RESULT; }
unsigned cuDeviceGetCount(int *count) { *count = DEVICES; return INIT_RESULT; }

#define SUCCEED(name) unsigned name(void) { return 0; }
SUCCEED(cuDeviceGet)
SUCCEED(cuDeviceGetAttribute)
SUCCEED(cuDevicePrimaryCtxRetain)
SUCCEED(cuCtxSetCurrent)
SUCCEED(cuCtxSynchronize)
SUCCEED(cuModuleLoadDataEx)
SUCCEED(cuModuleGetFunction)
SUCCEED(cuMemAlloc_v2)
SUCCEED(cuMemFree_v2)
SUCCEED(cuMemcpyHtoD_v2)
SUCCEED(cuMemcpyDtoH_v2)
SUCCEED(cuLaunchKernel)
SUCCEED(cuStreamSynchronize)
#endif
