// The CUDA driver as far as HIP's calls need it, opened at run time, so that no CUDA header or library is
// needed to build. Names, numbers and parameters are those of NVIDIA's CUDA driver API reference; where it has
// several versions of a call, the symbol named here is the one that has these parameters.
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef int CUresult;  // errors.c knows what the numbers mean
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st* CUcontext;
typedef struct CUstream_st* CUstream;
typedef struct CUevent_st* CUevent;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef struct CUgraph_st* CUgraph;
typedef struct CUgraphNode_st* CUgraphNode;
typedef struct CUgraphExec_st* CUgraphExec;
typedef struct {
  char bytes[16];
} CUuuid;

enum { CUDA_SUCCESS = 0 };

enum {
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
  CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
  CU_MEMHOSTALLOC_PORTABLE = 1,
  CU_MEMHOSTALLOC_DEVICEMAP = 2,
  CU_MEMHOSTALLOC_WRITECOMBINED = 4,
  CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
  CU_POINTER_ATTRIBUTE_DEVICE_POINTER = 3,
  CU_POINTER_ATTRIBUTE_HOST_POINTER = 4,
  CU_POINTER_ATTRIBUTE_IS_MANAGED = 8,
  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
  CU_MEMORYTYPE_HOST = 1,
  CU_MEMORYTYPE_DEVICE = 2,
  CU_MEMORYTYPE_ARRAY = 3,
};

// X(name of the call, symbol in libcuda, parameters)
#define CUDA_CALLS(X)                                                                                                 \
  X(cuInit, "cuInit", (unsigned flags))                                                                               \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int* version))                                                         \
  X(cuGetErrorName, "cuGetErrorName", (CUresult error, const char** name))                                            \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int* count))                                                               \
  X(cuDeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                                     \
  X(cuDeviceGetName, "cuDeviceGetName", (char* name, int bytes, CUdevice device))                                     \
  X(cuDeviceGetUuid, "cuDeviceGetUuid_v2", (CUuuid * uuid, CUdevice device))                                          \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t* bytes, CUdevice device))                                        \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, CUdevice device))                       \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))                     \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", (CUcontext * context))                                                        \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext context))                                                          \
  X(cuCtxGetDevice, "cuCtxGetDevice", (CUdevice * device))                                                            \
  X(cuCtxSynchronize, "cuCtxSynchronize", (void))                                                                     \
  X(cuCtxGetStreamPriorityRange, "cuCtxGetStreamPriorityRange", (int* least, int* greatest))                          \
  X(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr * pointer, size_t bytes))                                               \
  X(cuMemFree, "cuMemFree_v2", (CUdeviceptr pointer))                                                                 \
  X(cuMemAllocAsync, "cuMemAllocAsync", (CUdeviceptr * pointer, size_t bytes, CUstream stream))                       \
  X(cuMemFreeAsync, "cuMemFreeAsync", (CUdeviceptr pointer, CUstream stream))                                         \
  X(cuMemHostAlloc, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))                                 \
  X(cuMemFreeHost, "cuMemFreeHost", (void* pointer))                                                                  \
  X(cuMemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2", (CUdeviceptr * pointer, void* host, unsigned flags))   \
  X(cuMemGetInfo, "cuMemGetInfo_v2", (size_t* free, size_t* total))                                                   \
  X(cuPointerGetAttribute, "cuPointerGetAttribute", (void* value, int attribute, CUdeviceptr pointer))                \
  X(cuMemcpy, "cuMemcpy", (CUdeviceptr to, CUdeviceptr from, size_t bytes))                                           \
  X(cuMemcpyAsync, "cuMemcpyAsync", (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                \
  X(cuMemsetD8, "cuMemsetD8_v2", (CUdeviceptr to, unsigned char value, size_t count))                                 \
  X(cuMemsetD32, "cuMemsetD32_v2", (CUdeviceptr to, unsigned value, size_t count))                                    \
  X(cuMemsetD8Async, "cuMemsetD8Async", (CUdeviceptr to, unsigned char value, size_t count, CUstream stream))         \
  X(cuMemsetD32Async, "cuMemsetD32Async", (CUdeviceptr to, unsigned value, size_t count, CUstream stream))            \
  X(cuStreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))                                            \
  X(cuStreamCreateWithPriority, "cuStreamCreateWithPriority", (CUstream * stream, unsigned flags, int priority))      \
  X(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                                         \
  X(cuStreamQuery, "cuStreamQuery", (CUstream stream))                                                                \
  X(cuStreamSynchronize, "cuStreamSynchronize", (CUstream stream))                                                    \
  X(cuStreamWaitEvent, "cuStreamWaitEvent", (CUstream stream, CUevent event, unsigned flags))                         \
  X(cuEventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                                                \
  X(cuEventDestroy, "cuEventDestroy_v2", (CUevent event))                                                             \
  X(cuEventRecord, "cuEventRecord", (CUevent event, CUstream stream))                                                 \
  X(cuEventQuery, "cuEventQuery", (CUevent event))                                                                    \
  X(cuEventSynchronize, "cuEventSynchronize", (CUevent event))                                                        \
  X(cuEventElapsedTime, "cuEventElapsedTime", (float* milliseconds, CUevent start, CUevent stop))                     \
  X(cuModuleLoad, "cuModuleLoad", (CUmodule * module, const char* path))                                              \
  X(cuModuleLoadData, "cuModuleLoadData", (CUmodule * module, const void* image))                                     \
  X(cuModuleUnload, "cuModuleUnload", (CUmodule module))                                                              \
  X(cuModuleGetFunction, "cuModuleGetFunction", (CUfunction * function, CUmodule module, const char* name))           \
  X(cuModuleGetGlobal, "cuModuleGetGlobal_v2",                                                                        \
    (CUdeviceptr * pointer, size_t* bytes, CUmodule module, const char* name))                                        \
  X(cuFuncGetAttribute, "cuFuncGetAttribute", (int* value, int attribute, CUfunction function))                       \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))                        \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                       \
    (int* blocks, CUfunction function, int threads, size_t dynamic_shared_bytes))                                     \
  X(cuLaunchKernel, "cuLaunchKernel",                                                                                 \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,      \
     unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters, void** extra))                      \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))                                     \
  X(cuStreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph * graph))                                     \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", (CUstream stream, int* status))                                       \
  X(cuStreamGetCaptureInfo, "cuStreamGetCaptureInfo_v2",                                                              \
    (CUstream stream, int* status, unsigned long long* id, CUgraph* graph, const CUgraphNode** nodes, size_t* count)) \
  X(cuGraphDestroy, "cuGraphDestroy", (CUgraph graph))                                                                \
  X(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags",                                                       \
    (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                                                    \
  X(cuGraphUpload, "cuGraphUpload", (CUgraphExec exec, CUstream stream))                                              \
  X(cuGraphLaunch, "cuGraphLaunch", (CUgraphExec exec, CUstream stream))                                              \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec exec))

#pragma GCC visibility push(hidden)

#define CUDA_MEMBER(name, symbol, parameters) CUresult(*name) parameters;
struct CudaDriver {
  CUDA_CALLS(CUDA_MEMBER)
};
#undef CUDA_MEMBER

// A launch with attributes. It is no part of the table, since a driver may lack it.
typedef struct {
  int id;
  char alignment[4];
  union {
    char bytes[64];
    int programmatic_stream_serialization_allowed;
  } value;
} CUlaunchAttribute;

typedef struct {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  CUstream stream;
  CUlaunchAttribute* attributes;
  unsigned attribute_count;
} CUlaunchConfig;

enum { CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6 };

typedef CUresult (*CudaLaunchKernelEx)(const CUlaunchConfig* config, CUfunction function, void** parameters,
                                       void** extra);

// Filled by driver_is_ready().
extern struct CudaDriver cuda;

// cuLaunchKernelEx, null where the driver has none.
extern CudaLaunchKernelEx cuda_launch_kernel_ex;

// Opens libcuda.so.1 and initialises it, once in a process. False, with the calling thread's last error set,
// where that failed.
bool driver_is_ready(void);

// The newest CUDA release that the driver serves (13 for 13.1); 0 where there is no driver. Sets no error.
int driver_major_version(void);

#pragma GCC visibility pop
