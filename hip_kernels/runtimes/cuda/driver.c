#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "calls.h"
#include "errors.h"

struct CudaDriver cuda;
CudaLaunchKernelEx cuda_launch_kernel_ex;

#define CUDA_ROW(name, symbol, parameters) {symbol, offsetof(struct CudaDriver, name)},
static const struct Call kCalls[] = {CUDA_CALLS(CUDA_ROW)};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void* library;
static const char* missing_call;
static CUresult init_result;

static void open_driver(void) {
  library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return;
  missing_call = find_calls(library, kCalls, sizeof kCalls / sizeof kCalls[0], &cuda);
  void* const launch = dlsym(library, "cuLaunchKernelEx");
  memcpy(&cuda_launch_kernel_ex, &launch, sizeof launch);
  if (missing_call == NULL) init_result = cuda.cuInit(0);
}

bool driver_is_ready(void) {
  pthread_once(&once, open_driver);
  if (library == NULL) {
    refuse(hipErrorNoDevice,
           "libcuda.so.1 cannot be opened: install NVIDIA's driver, or choose another runtime with "
           "MOESORT_TUNE_RUNTIME");
    return false;
  }
  if (missing_call != NULL) {
    refuse(hipErrorInsufficientDriver, "NVIDIA's driver has no %s: update it to one for CUDA 11.4 or newer",
           missing_call);
    return false;
  }
  return told_by_cuda("cuInit", init_result) == hipSuccess;
}

int driver_major_version(void) {
  pthread_once(&once, open_driver);
  int version = 0;
  if (library != NULL && missing_call == NULL) cuda.cuDriverGetVersion(&version);
  return version / 1000;
}
