#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

enum { kDevices = 2 };

static struct CUctx_st primary_contexts[kDevices] = {{0}, {1}};
_Thread_local CUcontext current_context;

CUresult cuInit(unsigned flags) {
  CALLED("%u", flags);
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
  const char* const wanted = getenv("CUDA_STAND_IN_VERSION");
  *version = wanted == NULL ? 13010 : atoi(wanted);
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = error == 716 ? "CUDA_ERROR_MISALIGNED_ADDRESS" : NULL;
  return *name == NULL ? kInvalidValue : CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  CALLED("");
  *count = kDevices;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  CALLED("%d", ordinal);
  if (ordinal < 0 || ordinal >= kDevices) return kInvalidDevice;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int bytes, CUdevice device) {
  CALLED("%d", device);
  snprintf(name, bytes, "Stand-in %d", device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  CALLED("%d", device);
  memset(uuid, 'u', sizeof *uuid);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  CALLED("%d", device);
  *bytes = (size_t)80 << 30;
  return CUDA_SUCCESS;
}

// Each attribute has a value of its own, so that none can be taken for another.
CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  CALLED("%d, %d", attribute, device);
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = device == 0 ? 9 : 8;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = 0;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = 232448;
      break;
    default:
      *value = 1000 + attribute;
  }
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  CALLED("%d", device);
  *context = &primary_contexts[device];
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = current_context;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  CALLED("device %d", context->device);
  current_context = context;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  if (current_context == NULL) return kInvalidContext;
  *device = current_context->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
  CALLED_IN_CONTEXT("");
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  CALLED_IN_CONTEXT("");
  *least = 0;
  *greatest = -5;
  return CUDA_SUCCESS;
}
