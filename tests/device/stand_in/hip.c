// A libamdhip64.so and libhiprtc.so that answer as requested: for tests of which library is used, and of
// failures that need a broken machine. Compiled with -DHIP_VERSION=70253211; configured by STAND_IN_* variables.
#include "hip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long read_variable(const char* variable, long otherwise) {
  const char* text = getenv(variable);
  return text ? atol(text) : otherwise;
}

int hipRuntimeGetVersion(int* version) {
  *version = HIP_VERSION;
  return 0;
}

// STAND_IN_COUNT_ERROR: the code to fail with; STAND_IN_CRASH: the signal to die of.
int hipGetDeviceCount(int* count) {
  if (read_variable("STAND_IN_CRASH", 0)) raise((int)read_variable("STAND_IN_CRASH", 0));
  printf("a driver's own words\n");
  *count = (int)read_variable("STAND_IN_DEVICES", 1);
  return (int)read_variable("STAND_IN_COUNT_ERROR", *count ? 0 : 100);
}

int hipSetDevice(int device) { return device < read_variable("STAND_IN_DEVICES", 1) ? 0 : 101; }

int hipMalloc(void** pointer, size_t bytes) {
  *pointer = malloc(bytes);
  return (int)read_variable("STAND_IN_MALLOC_ERROR", 0);
}

int hipDeviceSynchronize(void) { return (int)read_variable("STAND_IN_SYNCHRONIZE_ERROR", 0); }

#ifndef WITHOUT_R0600
int hipGetDevicePropertiesR0600(hipDeviceProp_t* properties, int device) {
  memset(properties, 0, sizeof *properties);
  const char* target = getenv("STAND_IN_TARGET");
  strcpy(properties->name, "AMD Instinct MI300X");
  strcpy(properties->gcnArchName, target ? target : "gfx942:sramecc+:xnack-");
  properties->totalGlobalMem = 192ull << 30;
  properties->sharedMemPerBlock = 65536;
  properties->warpSize = 64;
  properties->multiProcessorCount = 304 - device;
  properties->l2CacheSize = 4 << 20;
  return 0;
}
#endif

// Only there to be found: doctor looks for the names.
int hipGraphInstantiateWithFlags(void) { return 801; }
int hipModuleLaunchKernel(void) { return 801; }
int hipModuleLoadData(void) { return 801; }
int hipStreamBeginCapture(void) { return 801; }

#ifdef WITH_HIPRTC
int hiprtcVersion(int* major, int* minor) {
  *major = HIP_VERSION / 10000000;
  *minor = HIP_VERSION / 100000 % 100;
  return 0;
}

// As old ones do for a target that they do not know: with STAND_IN_COMPILE_CRASH they die of that signal.
int hiprtcCreateProgram(void) {
  if (read_variable("STAND_IN_COMPILE_CRASH", 0)) raise((int)read_variable("STAND_IN_COMPILE_CRASH", 0));
  return 2;
}
#endif
