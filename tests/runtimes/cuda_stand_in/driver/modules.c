#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

enum { kOrdinarySharedBytes = 49152, kStaticSharedBytes = 1024 };

// The only kernels: fill(FillArguments), which writes arguments.value into arguments.count integers, and early_fill,
// the same with a declaration that it may start early.
struct CUfunc_st {
  int max_dynamic_shared_bytes;
};
struct CUmod_st {
  struct CUfunc_st fill;
  struct CUfunc_st early_fill;
  struct CUfunc_st declaration;
};
static int32_t module_table[4];

static CUresult load(CUmodule* module, const char* image) {
  char expected[32];
  if (strncmp(image, "cubin of ", 9) != 0) return kInvalidImage;
  snprintf(expected, sizeof expected, "cubin of sm_%d0", current_context->device == 0 ? 9 : 8);
  if (strncmp(image, expected, strlen(expected)) != 0) return kNoBinaryForGpu;
  *module = calloc(1, sizeof **module);
  (*module)->fill.max_dynamic_shared_bytes = kOrdinarySharedBytes - kStaticSharedBytes;
  (*module)->early_fill = (*module)->declaration = (*module)->fill;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  CALLED_IN_CONTEXT("");
  return load(module, image);
}

CUresult cuModuleLoad(CUmodule* module, const char* path) {
  CALLED_IN_CONTEXT("%s", path);
  char image[64] = "";
  FILE* const file = fopen(path, "r");
  if (file == NULL) return kFileNotFound;
  const size_t bytes = fread(image, 1, sizeof image - 1, file);
  fclose(file);
  return bytes == 0 ? kInvalidImage : load(module, image);
}

CUresult cuModuleUnload(CUmodule module) {
  CALLED_IN_CONTEXT("");
  free(module);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  CALLED_IN_CONTEXT("%s", name);
  if (strcmp(name, "fill") == 0)
    *function = &module->fill;
  else if (strcmp(name, "early_fill") == 0)
    *function = &module->early_fill;
  else if (strcmp(name, "early_fill_starts_early") == 0)
    *function = &module->declaration;
  else
    return kNotFound;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* pointer, size_t* bytes, CUmodule module, const char* name) {
  CALLED_IN_CONTEXT("%s", name);
  (void)module;
  if (strcmp(name, "table") != 0) return kNotFound;
  *pointer = (CUdeviceptr)(uintptr_t)module_table;
  *bytes = sizeof module_table;
  return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function) {
  CALLED_IN_CONTEXT("%d", attribute);
  *value = 100 + attribute;
  if (attribute == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) *value = kStaticSharedBytes;
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) *value = function->max_dynamic_shared_bytes;
  return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  CALLED_IN_CONTEXT("%d, %d", attribute, value);
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return kInvalidValue;
  function->max_dynamic_shared_bytes = value;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, CUfunction function, int threads, size_t bytes) {
  CALLED_IN_CONTEXT("%d, %zu", threads, bytes);
  (void)function;
  *count = 2048 / threads;
  return CUDA_SUCCESS;
}

// The argument block of a launch, from either way to give it; null where the list is not CUDA's.
static const void* argument_block(void** parameters, void** extra) {
  if (extra == NULL) return parameters == NULL ? NULL : parameters[0];
  const bool complete = extra[0] == (void*)1 && extra[2] == (void*)2 && extra[4] == NULL;
  return complete && *(size_t*)extra[3] == sizeof(struct FillArguments) ? extra[1] : NULL;
}

static CUresult start(CUfunction function, unsigned shared_bytes, CUstream stream, void** parameters, void** extra) {
  const void* const block = argument_block(parameters, extra);
  if (block == NULL || (int)shared_bytes > function->max_dynamic_shared_bytes) return kInvalidValue;
  struct Operation operation = {.type = 0};
  memcpy(&operation.arguments, block, sizeof operation.arguments);
  return submit(stream, operation);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters,
                        void** extra) {
  CALLED_IN_CONTEXT("%u %u %u, %u %u %u, %u, %s", grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes,
                    stream_name(stream));
  return start(function, shared_bytes, stream, parameters, extra);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
  if (config->attribute_count != 1) return kInvalidValue;
  const CUlaunchAttribute* const attribute = config->attributes;
  CALLED_IN_CONTEXT("%u %u %u, %u %u %u, %u, %s, attribute %d is %d", config->grid_x, config->grid_y, config->grid_z,
                    config->block_x, config->block_y, config->block_z, config->shared_bytes,
                    stream_name(config->stream), attribute->id,
                    attribute->value.programmatic_stream_serialization_allowed);
  return start(function, config->shared_bytes, config->stream, parameters, extra);
}
