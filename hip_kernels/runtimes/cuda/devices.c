// Devices: what there is, what it is like, which one is current.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "context.h"

// A fact about a device that both sides tell as an int: its number in HIP's hipDeviceAttribute_t, in CUDA's
// CUdevice_attribute, and the field of hipDeviceProp_t that holds it too. CUDA 11.4 knows all of them.
struct Fact {
  int hip;
  int cuda;
  size_t offset;
  size_t bytes;  // 0 where there is no field
};

#define FIELD(name) offsetof(hipDeviceProp_t, name), sizeof(((hipDeviceProp_t*)NULL)->name)
#define NO_FIELD 0, 0

// LDS per workgroup, in HIP's sense, is what a launch may ask for. CUDA grants all of it to kernels that opted
// in (hipModuleGetFunction does that for each), so both of HIP's facts are CUDA's opt-in limit (97).
static const struct Fact kFacts[] = {
    {56, 1, FIELD(maxThreadsPerBlock)},
    {26, 2, FIELD(maxThreadsDim[0])},
    {27, 3, FIELD(maxThreadsDim[1])},
    {28, 4, FIELD(maxThreadsDim[2])},
    {29, 5, FIELD(maxGridSize[0])},
    {30, 6, FIELD(maxGridSize[1])},
    {31, 7, FIELD(maxGridSize[2])},
    {74, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, FIELD(sharedMemPerBlock)},
    {75, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, FIELD(sharedMemPerBlockOptin)},
    {76, 81, FIELD(sharedMemPerMultiprocessor)},
    {10002, 81, FIELD(maxSharedMemoryPerMultiProcessor)},
    {73, 111, FIELD(reservedSharedMemPerBlock)},
    {83, 9, FIELD(totalConstMem)},
    {87, 10, FIELD(warpSize)},
    {58, 11, FIELD(memPitch)},
    {71, 12, FIELD(regsPerBlock)},
    {72, 82, FIELD(regsPerMultiprocessor)},
    {5, 13, FIELD(clockRate)},
    {10000, 13, FIELD(clockInstructionRate)},
    {60, 36, FIELD(memoryClockRate)},
    {59, 37, FIELD(memoryBusWidth)},
    {81, 14, FIELD(textureAlignment)},
    {82, 51, FIELD(texturePitchAlignment)},
    {79, 30, FIELD(surfaceAlignment)},
    {12, 15, FIELD(deviceOverlap)},
    {63, 16, FIELD(multiProcessorCount)},
    {10015, 16, NO_FIELD},
    {18, 17, FIELD(kernelExecTimeoutEnabled)},
    {16, 18, FIELD(integrated)},
    {3, 19, FIELD(canMapHostMemory)},
    {6, 20, FIELD(computeMode)},
    {8, 31, FIELD(concurrentKernels)},
    {0, 32, FIELD(ECCEnabled)},
    {67, 33, FIELD(pciBusID)},
    {68, 34, FIELD(pciDeviceID)},
    {69, 50, FIELD(pciDomainID)},
    {80, 35, FIELD(tccDriver)},
    {19, 38, FIELD(l2CacheSize)},
    {70, 108, FIELD(persistingL2CacheMaxSize)},
    {1, 109, FIELD(accessPolicyMaxWindowSize)},
    {57, 39, FIELD(maxThreadsPerMultiProcessor)},
    {25, 106, FIELD(maxBlocksPerMultiProcessor)},
    {2, 40, FIELD(asyncEngineCount)},
    {85, 41, FIELD(unifiedAddressing)},
    {23, 75, FIELD(major)},
    {61, 76, FIELD(minor)},
    {78, 78, FIELD(streamPrioritiesSupported)},
    {14, 79, FIELD(globalL1CacheSupported)},
    {20, 80, FIELD(localL1CacheSupported)},
    {24, 83, FIELD(managedMemory)},
    {17, 84, FIELD(isMultiGpuBoard)},
    {62, 85, FIELD(multiGpuBoardGroupID)},
    {15, 86, FIELD(hostNativeAtomicSupported)},
    {77, 87, FIELD(singleToDoublePrecisionPerfRatio)},
    {65, 88, FIELD(pageableMemoryAccess)},
    {66, 100, FIELD(pageableMemoryAccessUsesHostPageTables)},
    {9, 89, FIELD(concurrentManagedAccess)},
    {13, 101, FIELD(directManagedMemAccessFromHost)},
    {7, 90, FIELD(computePreemptionSupported)},
    {4, 91, FIELD(canUseHostPointerForRegisteredMem)},
    {10, 95, FIELD(cooperativeLaunch)},
    {11, 96, FIELD(cooperativeMultiDeviceLaunch)},
    {90, 99, FIELD(hostRegisterSupported)},
    {88, 115, FIELD(memoryPoolsSupported)},
};

enum { kFactCount = sizeof kFacts / sizeof kFacts[0] };

// hipDeviceArch_t: 32- and 64-bit atomics, doubles, votes, ballots, shuffles, fences and 3D grids; every GPU from
// sm_80 on has all 17.
enum { kAllFeatures = (1 << 17) - 1 };

static hipError_t ask(int* value, int attribute, CUdevice device) {
  return told_by_cuda("cuDeviceGetAttribute", cuda.cuDeviceGetAttribute(value, attribute, device));
}

static hipError_t fill_facts(hipDeviceProp_t* properties, CUdevice device) {
  for (size_t i = 0; i < kFactCount; ++i) {
    const struct Fact* const fact = &kFacts[i];
    int value = 0;
    if (fact->bytes == 0) continue;
    const hipError_t error = ask(&value, fact->cuda, device);
    if (error != hipSuccess) return error;
    char* const field = (char*)properties + fact->offset;
    if (fact->bytes == sizeof(size_t))
      *(size_t*)(void*)field = (size_t)value;
    else
      *(int*)(void*)field = value;
  }
  return hipSuccess;
}

// The architecture as moesort-tune and `--offload-arch` name it, where AMD has gfx942: sm_90.
static hipError_t name_architecture(char* name, size_t bytes, CUdevice device) {
  int major = 0;
  int minor = 0;
  hipError_t error = ask(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  if (error == hipSuccess) error = ask(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  if (error == hipSuccess) snprintf(name, bytes, "sm_%d%d", major, minor);
  return error;
}

// Without a context the thread's first call will make device 0 current, so that is the answer until then.
static hipError_t find_current_device(CUdevice* device) {
  *device = 0;
  CUcontext context = NULL;
  const hipError_t error = FORWARD_WITHOUT_CONTEXT(cuCtxGetCurrent, &context);
  if (error != hipSuccess || context == NULL) return error;
  return told_by_cuda("cuCtxGetDevice", cuda.cuCtxGetDevice(device));
}

hipError_t name_current_architecture(char* name, size_t bytes) {
  CUdevice device;
  const hipError_t error = find_current_device(&device);
  return error == hipSuccess ? name_architecture(name, bytes, device) : error;
}

EXPORT hipError_t hipInit(unsigned flags) { return FORWARD_WITHOUT_CONTEXT(cuInit, flags); }

// CUDA writes version 13.1 as 13010, HIP as 130100000; both of HIP's versions are that of CUDA here.
static hipError_t tell_version(int* version) {
  int cuda_version = 0;
  const hipError_t error = FORWARD_WITHOUT_CONTEXT(cuDriverGetVersion, &cuda_version);
  *version = cuda_version / 1000 * 10000000 + cuda_version % 1000 / 10 * 100000;
  return error;
}

EXPORT hipError_t hipRuntimeGetVersion(int* version) { return tell_version(version); }
EXPORT hipError_t hipDriverGetVersion(int* version) { return tell_version(version); }

EXPORT hipError_t hipGetDeviceCount(int* count) {
  *count = 0;
  const hipError_t error = FORWARD_WITHOUT_CONTEXT(cuDeviceGetCount, count);
  if (error == hipSuccess && *count == 0) return refuse(hipErrorNoDevice, "the driver finds no GPU");
  return error;
}

EXPORT hipError_t hipSetDevice(int ordinal) { return use_device(ordinal); }

EXPORT hipError_t hipGetDevice(int* ordinal) { return find_current_device(ordinal); }

EXPORT hipError_t hipDeviceGet(hipDevice_t* device, int ordinal) {
  return FORWARD_WITHOUT_CONTEXT(cuDeviceGet, device, ordinal);
}

EXPORT hipError_t hipDeviceTotalMem(size_t* bytes, hipDevice_t device) {
  return FORWARD_WITHOUT_CONTEXT(cuDeviceTotalMem, bytes, device);
}

EXPORT hipError_t hipDeviceGetAttribute(int* value, int attribute, int device) {
  for (size_t i = 0; i < kFactCount; ++i)
    if (kFacts[i].hip == attribute) return FORWARD_WITHOUT_CONTEXT(cuDeviceGetAttribute, value, kFacts[i].cuda, device);
  return refuse(hipErrorInvalidValue, "CUDA has no counterpart of hipDeviceAttribute_t %d", attribute);
}

EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_t* properties, int ordinal) {
  memset(properties, 0, sizeof *properties);
  CUdevice device;
  hipError_t error = FORWARD_WITHOUT_CONTEXT(cuDeviceGet, &device, ordinal);
  if (error == hipSuccess)
    error = FORWARD_WITHOUT_CONTEXT(cuDeviceGetName, properties->name, sizeof properties->name, device);
  if (error == hipSuccess) error = FORWARD_WITHOUT_CONTEXT(cuDeviceTotalMem, &properties->totalGlobalMem, device);
  if (error == hipSuccess) error = FORWARD_WITHOUT_CONTEXT(cuDeviceGetUuid, &properties->uuid, device);
  if (error == hipSuccess) error = fill_facts(properties, device);
  if (error == hipSuccess) error = name_architecture(properties->gcnArchName, sizeof properties->gcnArchName, device);
  properties->arch = kAllFeatures;
  return error;
}

EXPORT hipError_t hipDeviceSynchronize(void) {
  return context_is_current() ? told_by_cuda("cuCtxSynchronize", cuda.cuCtxSynchronize()) : latest_failure();
}

EXPORT hipError_t hipDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return FORWARD(cuCtxGetStreamPriorityRange, least, greatest);
}
