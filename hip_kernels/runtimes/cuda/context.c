#include "context.h"

#include <stdatomic.h>

enum { kMaxDevices = 64 };

// Retained on first use and never released: a primary context lives as long as the process.
static _Atomic(CUcontext) primary_contexts[kMaxDevices];

static hipError_t retain_primary_context(CUdevice device, CUcontext* context) {
  *context = atomic_load(&primary_contexts[device]);
  if (*context != NULL) return hipSuccess;
  const hipError_t error = told_by_cuda("cuDevicePrimaryCtxRetain", cuda.cuDevicePrimaryCtxRetain(context, device));
  // Two threads may both come here; they get the same context, and holding it twice does no harm.
  if (error == hipSuccess) atomic_store(&primary_contexts[device], *context);
  return error;
}

hipError_t use_device(int ordinal) {
  CUdevice device;
  hipError_t error = FORWARD_WITHOUT_CONTEXT(cuDeviceGet, &device, ordinal);
  if (error != hipSuccess) return error;
  if (device >= kMaxDevices)
    return refuse(hipErrorInvalidDevice, "device %d is past the %d that are supported", device, kMaxDevices);
  CUcontext context;
  error = retain_primary_context(device, &context);
  return error == hipSuccess ? told_by_cuda("cuCtxSetCurrent", cuda.cuCtxSetCurrent(context)) : error;
}

bool context_is_current(void) {
  if (!driver_is_ready()) return false;
  CUcontext context = NULL;
  if (told_by_cuda("cuCtxGetCurrent", cuda.cuCtxGetCurrent(&context)) != hipSuccess) return false;
  return context != NULL || use_device(0) == hipSuccess;
}
