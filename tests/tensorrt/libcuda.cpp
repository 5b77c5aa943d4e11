// A stand-in for NVIDIA's driver: every function asks a listener (Python, through ctypes), by its name.
//
// Without a listener it is a driver on a machine without a GPU: all but the texts of errors answer 100.

#include <cstdint>

namespace {

using Listener = uint64_t (*)(char const* name, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
Listener listener = nullptr;
constexpr uint64_t kNoDevice = 100;

struct Error {
    int code;
    char const* name;
    char const* text;
};

Error const errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

}  // namespace

#define ASK(name)                                                        \
    uint64_t name(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {      \
        return listener == nullptr ? kNoDevice : listener(#name, a, b, c, d); \
    }

extern "C" {

void fake_listen_cuda(Listener next) { listener = next; }

int cuGetErrorString(int code, char const** text) {
    for (Error const& error : errors) {
        if (error.code == code) {
            *text = error.text;
            return 0;
        }
    }
    *text = "unrecognized error code";
    return 1;
}

int cuGetErrorName(int code, char const** name) {
    for (Error const& error : errors) {
        if (error.code == code) {
            *name = error.name;
            return 0;
        }
    }
    *name = "CUDA_ERROR_UNKNOWN";
    return 1;
}

// What pycuda 2026.1 links to (nm -D --undefined-only), but for the texts above.
// clang-format off
ASK(cuArray3DCreate_v2) ASK(cuArray3DGetDescriptor_v2) ASK(cuArrayCreate_v2) ASK(cuArrayDestroy)
ASK(cuArrayGetDescriptor_v2) ASK(cuCtxAttach) ASK(cuCtxCreate_v4) ASK(cuCtxDetach) ASK(cuCtxDisablePeerAccess)
ASK(cuCtxEnablePeerAccess) ASK(cuCtxGetApiVersion) ASK(cuCtxGetCacheConfig) ASK(cuCtxGetDevice)
ASK(cuCtxGetLimit) ASK(cuCtxGetSharedMemConfig) ASK(cuCtxPopCurrent_v2) ASK(cuCtxPushCurrent_v2)
ASK(cuCtxSetCacheConfig) ASK(cuCtxSetLimit) ASK(cuCtxSetSharedMemConfig) ASK(cuCtxSynchronize)
ASK(cuDeviceCanAccessPeer) ASK(cuDeviceComputeCapability) ASK(cuDeviceGet) ASK(cuDeviceGetAttribute)
ASK(cuDeviceGetByPCIBusId) ASK(cuDeviceGetCount) ASK(cuDeviceGetName) ASK(cuDeviceGetPCIBusId)
ASK(cuDevicePrimaryCtxRelease_v2) ASK(cuDevicePrimaryCtxRetain) ASK(cuDeviceTotalMem_v2) ASK(cuDriverGetVersion)
ASK(cuEventCreate) ASK(cuEventDestroy_v2) ASK(cuEventElapsedTime_v2) ASK(cuEventQuery) ASK(cuEventRecord)
ASK(cuEventSynchronize) ASK(cuFuncGetAttribute) ASK(cuFuncSetAttribute) ASK(cuFuncSetBlockShape)
ASK(cuFuncSetCacheConfig) ASK(cuFuncSetSharedSize) ASK(cuInit) ASK(cuIpcCloseMemHandle) ASK(cuIpcGetEventHandle)
ASK(cuIpcGetMemHandle) ASK(cuIpcOpenEventHandle) ASK(cuIpcOpenMemHandle_v2) ASK(cuLaunch) ASK(cuLaunchGrid)
ASK(cuLaunchGridAsync) ASK(cuLaunchKernel) ASK(cuLinkAddData_v2) ASK(cuLinkAddFile_v2) ASK(cuLinkComplete)
ASK(cuLinkCreate_v2) ASK(cuLinkDestroy) ASK(cuMemAllocManaged) ASK(cuMemAllocPitch_v2) ASK(cuMemAlloc_v2)
ASK(cuMemFreeHost) ASK(cuMemFree_v2) ASK(cuMemGetAddressRange_v2) ASK(cuMemGetInfo_v2) ASK(cuMemHostAlloc)
ASK(cuMemHostGetDevicePointer_v2) ASK(cuMemHostGetFlags) ASK(cuMemHostRegister_v2) ASK(cuMemHostUnregister)
ASK(cuMemcpy2DAsync_v2) ASK(cuMemcpy2DUnaligned_v2) ASK(cuMemcpy2D_v2) ASK(cuMemcpy3DAsync_v2)
ASK(cuMemcpy3DPeer) ASK(cuMemcpy3DPeerAsync) ASK(cuMemcpy3D_v2) ASK(cuMemcpyAtoA_v2) ASK(cuMemcpyAtoD_v2)
ASK(cuMemcpyAtoH_v2) ASK(cuMemcpyDtoA_v2) ASK(cuMemcpyDtoDAsync_v2) ASK(cuMemcpyDtoD_v2) ASK(cuMemcpyDtoHAsync_v2)
ASK(cuMemcpyDtoH_v2) ASK(cuMemcpyHtoA_v2) ASK(cuMemcpyHtoDAsync_v2) ASK(cuMemcpyHtoD_v2) ASK(cuMemcpyPeer)
ASK(cuMemcpyPeerAsync) ASK(cuMemsetD16Async) ASK(cuMemsetD16_v2) ASK(cuMemsetD2D16Async) ASK(cuMemsetD2D16_v2)
ASK(cuMemsetD2D32Async) ASK(cuMemsetD2D32_v2) ASK(cuMemsetD2D8Async) ASK(cuMemsetD2D8_v2) ASK(cuMemsetD32Async)
ASK(cuMemsetD32_v2) ASK(cuMemsetD8Async) ASK(cuMemsetD8_v2) ASK(cuModuleGetFunction) ASK(cuModuleGetGlobal_v2)
ASK(cuModuleGetSurfRef) ASK(cuModuleGetTexRef) ASK(cuModuleLoad) ASK(cuModuleLoadData) ASK(cuModuleLoadDataEx)
ASK(cuModuleUnload) ASK(cuParamSetSize) ASK(cuParamSetTexRef) ASK(cuParamSetf) ASK(cuParamSeti)
ASK(cuParamSetv) ASK(cuProfilerInitialize) ASK(cuProfilerStart) ASK(cuProfilerStop) ASK(cuStreamAttachMemAsync)
ASK(cuStreamCreate) ASK(cuStreamDestroy_v2) ASK(cuStreamQuery) ASK(cuStreamSynchronize) ASK(cuStreamWaitEvent)
ASK(cuSurfRefGetArray) ASK(cuSurfRefSetArray) ASK(cuTexRefCreate) ASK(cuTexRefDestroy) ASK(cuTexRefGetAddressMode)
ASK(cuTexRefGetAddress_v2) ASK(cuTexRefGetArray) ASK(cuTexRefGetFilterMode) ASK(cuTexRefGetFlags)
ASK(cuTexRefGetFormat) ASK(cuTexRefSetAddress2D_v3) ASK(cuTexRefSetAddressMode) ASK(cuTexRefSetAddress_v2)
ASK(cuTexRefSetArray) ASK(cuTexRefSetFilterMode) ASK(cuTexRefSetFlags) ASK(cuTexRefSetFormat)
// clang-format on
}
