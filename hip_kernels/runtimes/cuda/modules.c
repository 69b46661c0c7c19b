// Code objects (cubins here) and launches.
#include "context.h"
#include "early.h"

// HIP's and CUDA's marks inside a launch's `extra` list differ in the last one only.
enum { kMaxExtra = 8 };
#define HIP_LAUNCH_PARAM_END ((void*)3)
#define CU_LAUNCH_PARAM_END NULL

EXPORT hipError_t hipModuleLoad(hipModule_t* module, const char* path) { return FORWARD(cuModuleLoad, module, path); }

EXPORT hipError_t hipModuleLoadData(hipModule_t* module, const void* image) {
  return FORWARD(cuModuleLoadData, module, image);
}

EXPORT hipError_t hipModuleUnload(hipModule_t module) {
  forget_early_starts(module);
  return FORWARD(cuModuleUnload, module);
}

EXPORT hipError_t hipModuleGetGlobal(hipDeviceptr_t* pointer, size_t* bytes, hipModule_t module, const char* name) {
  return FORWARD(cuModuleGetGlobal, (CUdeviceptr*)pointer, bytes, module, name);
}

// A HIP kernel may use all LDS of a workgroup as it is; CUDA wants to be asked per kernel above 48 KiB.
static hipError_t allow_all_lds(hipFunction_t function) {
  CUdevice device = 0;
  int limit = 0;
  int used = 0;
  hipError_t error = FORWARD(cuCtxGetDevice, &device);
  if (error == hipSuccess)
    error = FORWARD(cuDeviceGetAttribute, &limit, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
  if (error == hipSuccess) error = FORWARD(cuFuncGetAttribute, &used, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function);
  if (error != hipSuccess) return error;
  return FORWARD(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, limit - used);
}

EXPORT hipError_t hipModuleGetFunction(hipFunction_t* function, hipModule_t module, const char* name) {
  const hipError_t error = FORWARD(cuModuleGetFunction, function, module, name);
  if (error != hipSuccess) return error;
  note_early_start(*function, module, name);
  return allow_all_lds(*function);
}

// HIP_FUNC_ATTRIBUTE_* have CUDA's numbers.
EXPORT hipError_t hipFuncGetAttribute(int* value, int attribute, hipFunction_t function) {
  return FORWARD(cuFuncGetAttribute, value, attribute, function);
}

EXPORT hipError_t hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, hipFunction_t function, int threads,
                                                                     size_t lds_bytes) {
  return FORWARD(cuOccupancyMaxActiveBlocksPerMultiprocessor, blocks, function, threads, lds_bytes);
}

EXPORT hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned lds_bytes,
                                        hipStream_t stream, void** parameters, void** extra) {
  void* cuda_extra[kMaxExtra + 1];
  if (extra != NULL) {
    int count = 0;
    for (; count < kMaxExtra && extra[count] != HIP_LAUNCH_PARAM_END; ++count) cuda_extra[count] = extra[count];
    cuda_extra[count] = CU_LAUNCH_PARAM_END;
  }
  void** const list = extra == NULL ? NULL : cuda_extra;
  if (!starts_early(function))
    return FORWARD(cuLaunchKernel, function, grid_x, grid_y, grid_z, block_x, block_y, block_z, lds_bytes, stream,
                   parameters, list);
  CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
  attribute.value.programmatic_stream_serialization_allowed = 1;
  const CUlaunchConfig config = {grid_x, grid_y, grid_z, block_x, block_y, block_z, lds_bytes, stream, &attribute, 1};
  if (!context_is_current()) return latest_failure();
  return told_by_cuda("cuLaunchKernelEx", cuda_launch_kernel_ex(&config, function, parameters, list));
}
