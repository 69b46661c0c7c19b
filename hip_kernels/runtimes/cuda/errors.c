#include "errors.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local hipError_t last_error = hipSuccess;
static _Thread_local hipError_t latest = hipSuccess;
static _Thread_local char sentence[1024];

// HIP's codes that this library can return, all of them known to HIP 6 already: what it does not know, a
// binding may refuse to name.
static const struct Code {
  int code;
  const char* name;
  const char* meaning;
} kCodes[] = {
    {0, "hipSuccess", "no error"},
    {1, "hipErrorInvalidValue", "invalid argument"},
    {2, "hipErrorOutOfMemory", "out of memory"},
    {3, "hipErrorNotInitialized", "the driver is not initialised"},
    {4, "hipErrorDeinitialized", "the driver is shutting down"},
    {5, "hipErrorProfilerDisabled", "the profiler is disabled"},
    {6, "hipErrorProfilerNotInitialized", "the profiler is not initialised"},
    {7, "hipErrorProfilerAlreadyStarted", "the profiler is started already"},
    {8, "hipErrorProfilerAlreadyStopped", "the profiler is stopped already"},
    {9, "hipErrorInvalidConfiguration", "invalid launch configuration"},
    {35, "hipErrorInsufficientDriver", "the driver is too old"},
    {100, "hipErrorNoDevice", "no device"},
    {101, "hipErrorInvalidDevice", "no such device"},
    {200, "hipErrorInvalidImage", "the code object is invalid"},
    {201, "hipErrorInvalidContext", "invalid context"},
    {202, "hipErrorContextAlreadyCurrent", "the context is current already"},
    {205, "hipErrorMapFailed", "mapping failed"},
    {206, "hipErrorUnmapFailed", "unmapping failed"},
    {207, "hipErrorArrayIsMapped", "the array is mapped"},
    {208, "hipErrorAlreadyMapped", "mapped already"},
    {209, "hipErrorNoBinaryForGpu", "the code object is for another architecture"},
    {210, "hipErrorAlreadyAcquired", "acquired already"},
    {211, "hipErrorNotMapped", "not mapped"},
    {212, "hipErrorNotMappedAsArray", "not mapped as an array"},
    {213, "hipErrorNotMappedAsPointer", "not mapped as a pointer"},
    {214, "hipErrorECCNotCorrectable", "memory error that ECC could not correct"},
    {215, "hipErrorUnsupportedLimit", "unsupported limit"},
    {216, "hipErrorContextAlreadyInUse", "the device is in exclusive use"},
    {217, "hipErrorPeerAccessUnsupported", "no peer access between these devices"},
    {218, "hipErrorInvalidKernelFile", "the code cannot be compiled for this device"},
    {219, "hipErrorInvalidGraphicsContext", "invalid graphics context"},
    {300, "hipErrorInvalidSource", "invalid source"},
    {301, "hipErrorFileNotFound", "file not found"},
    {302, "hipErrorSharedObjectSymbolNotFound", "symbol not found in a shared library"},
    {303, "hipErrorSharedObjectInitFailed", "a shared library could not be initialised"},
    {304, "hipErrorOperatingSystem", "an operating system call failed"},
    {400, "hipErrorInvalidHandle", "invalid handle"},
    {401, "hipErrorIllegalState", "illegal state"},
    {500, "hipErrorNotFound", "name not found"},
    {600, "hipErrorNotReady", "not ready yet"},
    {700, "hipErrorIllegalAddress", "a kernel touched memory that is not its own"},
    {701, "hipErrorLaunchOutOfResources", "a workgroup needs more registers or LDS than there are"},
    {702, "hipErrorLaunchTimeOut", "a kernel ran too long"},
    {704, "hipErrorPeerAccessAlreadyEnabled", "peer access is enabled already"},
    {705, "hipErrorPeerAccessNotEnabled", "peer access is not enabled"},
    {708, "hipErrorSetOnActiveProcess", "the device is in use already"},
    {709, "hipErrorContextIsDestroyed", "the context is destroyed"},
    {710, "hipErrorAssert", "an assertion failed in a kernel"},
    {712, "hipErrorHostMemoryAlreadyRegistered", "the host memory is registered already"},
    {713, "hipErrorHostMemoryNotRegistered", "the host memory is not registered"},
    {719, "hipErrorLaunchFailure", "a kernel failed"},
    {720, "hipErrorCooperativeLaunchTooLarge", "too many workgroups for a cooperative launch"},
    {801, "hipErrorNotSupported", "not supported"},
    {900, "hipErrorStreamCaptureUnsupported", "not allowed while a stream is captured"},
    {901, "hipErrorStreamCaptureInvalidated", "an earlier error invalidated the capture"},
    {902, "hipErrorStreamCaptureMerge", "two captures cannot be merged"},
    {903, "hipErrorStreamCaptureUnmatched", "the capture was not begun on this stream"},
    {904, "hipErrorStreamCaptureUnjoined", "a forked stream was not joined before the capture's end"},
    {905, "hipErrorStreamCaptureIsolation", "a dependency crosses the capture's border"},
    {906, "hipErrorStreamCaptureImplicit", "the capture would depend on the null stream"},
    {907, "hipErrorCapturedEvent", "the event was recorded in a capture"},
    {908, "hipErrorStreamCaptureWrongThread", "another thread began the capture"},
    {910, "hipErrorGraphExecUpdateFailure", "the graph cannot be updated so"},
    {999, "hipErrorUnknown", "unknown error"},
};

static const struct Code* find(int code) {
  for (size_t i = 0; i < sizeof kCodes / sizeof kCodes[0]; ++i)
    if (kCodes[i].code == code) return &kCodes[i];
  return NULL;
}

// The driver's codes that HIP does not have, or has for something else.
static hipError_t translate(CUresult result) {
  switch (result) {
    case 34:   // CUDA_ERROR_STUB_LIBRARY
    case 36:   // CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER
    case 803:  // CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
    case 804:  // CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
      return hipErrorInsufficientDriver;
    case 46:  // CUDA_ERROR_DEVICE_UNAVAILABLE
      return hipErrorContextAlreadyInUse;
    case 220:  // CUDA_ERROR_NVLINK_UNCORRECTABLE
      return hipErrorECCNotCorrectable;
    case 221:  // CUDA_ERROR_JIT_COMPILER_NOT_FOUND
      return hipErrorSharedObjectInitFailed;
    case 222:  // CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    case 223:  // CUDA_ERROR_JIT_COMPILATION_DISABLED
      return hipErrorInvalidKernelFile;
    case 714:  // CUDA_ERROR_HARDWARE_STACK_ERROR
    case 715:  // CUDA_ERROR_ILLEGAL_INSTRUCTION
    case 718:  // CUDA_ERROR_INVALID_PC
      return hipErrorLaunchFailure;
    case 716:  // CUDA_ERROR_MISALIGNED_ADDRESS
    case 717:  // CUDA_ERROR_INVALID_ADDRESS_SPACE
      return hipErrorIllegalAddress;
    case 800:  // CUDA_ERROR_NOT_PERMITTED
      return hipErrorNotSupported;
    case 802:  // CUDA_ERROR_SYSTEM_NOT_READY
      return hipErrorNotInitialized;
    case 909:  // CUDA_ERROR_TIMEOUT
      return hipErrorLaunchTimeOut;
    case 912:  // CUDA_ERROR_INVALID_CLUSTER_SIZE
      return hipErrorInvalidConfiguration;
    default:
      return find(result) == NULL ? hipErrorUnknown : (hipError_t)result;
  }
}

static hipError_t keep(hipError_t error) {
  latest = error;
  last_error = error;
  return error;
}

hipError_t refuse(hipError_t error, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(sentence, sizeof sentence, format, values);
  va_end(values);
  return keep(error);
}

void explain(const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(sentence, sizeof sentence, format, values);
  va_end(values);
}

hipError_t told_by_cuda(const char* call, CUresult result) {
  if (result == CUDA_SUCCESS) return hipSuccess;
  const hipError_t error = translate(result);
  if (error == hipErrorNotReady) return error;
  const char* name = NULL;
  cuda.cuGetErrorName(result, &name);
  return refuse(error, "%s returned %s (%d)", call, name == NULL ? "an unknown error" : name, result);
}

hipError_t latest_failure(void) { return latest; }

// Of the calling thread's latest failure, more than its code says; empty before the first.
EXPORT const char* moesort_cuda_problem(void) { return sentence; }

EXPORT hipError_t hipPeekAtLastError(void) { return last_error; }

EXPORT hipError_t hipGetLastError(void) {
  const hipError_t error = last_error;
  last_error = hipSuccess;
  return error;
}

EXPORT const char* hipGetErrorName(hipError_t error) {
  const struct Code* const code = find(error);
  return code == NULL ? "hipErrorUnknown" : code->name;
}

EXPORT const char* hipGetErrorString(hipError_t error) {
  const struct Code* const code = find(error);
  return code == NULL ? "unknown error" : code->meaning;
}
