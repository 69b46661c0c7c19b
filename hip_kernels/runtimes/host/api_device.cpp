// The machine's own cores, as one device or as several.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "api.h"
#include "devices.h"
#include "errors.h"
#include "fault.h"
#include "memory.h"
#include "runner.h"
#include "settings.h"
#include "stream.h"

namespace moesort_host {
namespace {

// The version of HIP whose calls and layouts these are, as HIP writes it: major, minor and patch in one number.
constexpr int kHipVersion = 70000000;

constexpr int kMaxGridX = INT32_MAX;
constexpr int kMaxGridOther = 65535;
constexpr int kAssumedCacheBytes = 1 << 20;  // where the system does not tell

int last_level_cache_bytes() {
  const long largest = std::max(sysconf(_SC_LEVEL2_CACHE_SIZE), sysconf(_SC_LEVEL3_CACHE_SIZE));
  return largest <= 0 ? kAssumedCacheBytes : static_cast<int>(std::min<long>(largest, INT32_MAX));
}

void describe_limits(hipDeviceProp_tR0600* properties) {
  const std::size_t lds_bytes = settings().lds_bytes;
  properties->sharedMemPerBlock = lds_bytes;
  properties->sharedMemPerBlockOptin = lds_bytes;
  properties->sharedMemPerMultiprocessor = lds_bytes;
  properties->maxSharedMemoryPerMultiProcessor = lds_bytes;
  properties->warpSize = static_cast<int>(settings().wave_size);
  properties->maxThreadsPerBlock = kMaxLanes;
  properties->maxThreadsPerMultiProcessor = kMaxLanes;
  properties->maxBlocksPerMultiProcessor = 1;
  std::fill_n(properties->maxThreadsDim, 3, static_cast<int>(kMaxLanes));
  properties->maxGridSize[0] = kMaxGridX;
  properties->maxGridSize[1] = properties->maxGridSize[2] = kMaxGridOther;
}

hipDeviceProp_tR0600 describe_device(int ordinal) {
  const HostDevice& device = devices()[static_cast<std::size_t>(ordinal)];
  hipDeviceProp_tR0600 properties = {};
  std::strcpy(properties.name, "moesort-tune host");
  std::strcpy(properties.gcnArchName, "host");
  describe_limits(&properties);
  properties.multiProcessorCount = static_cast<int>(device.compute_units);
  properties.pciBusID = device.bus;
  properties.totalGlobalMem = total_memory_bytes();
  properties.l2CacheSize = last_level_cache_bytes();
  properties.major = 1;
  properties.integrated = 1;
  properties.canMapHostMemory = 1;
  properties.unifiedAddressing = 1;
  properties.hostRegisterSupported = 1;
  properties.hostNativeAtomicSupported = 1;
  properties.arch.hasGlobalInt32Atomics = properties.arch.hasSharedInt32Atomics = 1;
  properties.arch.hasGlobalInt64Atomics = properties.arch.hasSharedInt64Atomics = 1;
  properties.arch.hasWarpVote = properties.arch.hasWarpBallot = properties.arch.hasWarpShuffle = 1;
  properties.arch.hasDoubles = properties.arch.has3dGrid = 1;
  return properties;
}

struct Attribute {
  int number;  // HIP's hipDeviceAttribute_t
  int value;
};

hipError_t find_attribute(int number, int* value, int ordinal) {
  const hipDeviceProp_tR0600 properties = describe_device(ordinal);
  const int lds_bytes = static_cast<int>(properties.sharedMemPerBlock);
  const Attribute attributes[] = {
      {3, properties.canMapHostMemory},
      {5, properties.clockRate},
      {8, properties.concurrentKernels},
      {15, properties.hostNativeAtomicSupported},
      {16, properties.integrated},
      {19, properties.l2CacheSize},
      {23, properties.major},
      {25, properties.maxBlocksPerMultiProcessor},
      {26, properties.maxThreadsDim[0]},
      {27, properties.maxThreadsDim[1]},
      {28, properties.maxThreadsDim[2]},
      {29, properties.maxGridSize[0]},
      {30, properties.maxGridSize[1]},
      {31, properties.maxGridSize[2]},
      {56, properties.maxThreadsPerBlock},
      {57, properties.maxThreadsPerMultiProcessor},
      {61, properties.minor},
      {63, properties.multiProcessorCount},
      {67, properties.pciBusID},
      {68, properties.pciDeviceID},
      {69, properties.pciDomainID},
      {74, lds_bytes},
      {75, lds_bytes},
      {76, lds_bytes},
      {85, properties.unifiedAddressing},
      {87, properties.warpSize},
      {90, properties.hostRegisterSupported},
      {10002, lds_bytes},
      {10015, properties.multiProcessorCount},
  };
  for (const Attribute& attribute : attributes) {
    if (attribute.number != number) continue;
    *value = attribute.value;
    return hipSuccess;
  }
  return hipErrorInvalidValue;
}

bool is_device(int ordinal) { return ordinal >= 0 && static_cast<std::size_t>(ordinal) < devices().size(); }

template <typename Value>
hipError_t give(Value* target, Value value) {
  if (target == nullptr) return hipErrorInvalidValue;
  *target = value;
  return hipSuccess;
}

}  // namespace
}  // namespace moesort_host

using namespace moesort_host;

HOST_API hipError_t hipInit(unsigned flags) {
  return call("hipInit", Needs::kNothing, [&] { return flags == 0 ? hipSuccess : hipErrorInvalidValue; });
}

HOST_API hipError_t hipDriverGetVersion(int* version) {
  return call("hipDriverGetVersion", Needs::kNothing, [&] { return give(version, kHipVersion); });
}

HOST_API hipError_t hipRuntimeGetVersion(int* version) {
  return call("hipRuntimeGetVersion", Needs::kNothing, [&] { return give(version, kHipVersion); });
}

HOST_API hipError_t hipGetDeviceCount(int* count) {
  return call("hipGetDeviceCount", Needs::kNothing, [&] { return give(count, static_cast<int>(devices().size())); });
}

HOST_API hipError_t hipGetDevice(int* device) {
  return call("hipGetDevice", Needs::kNothing, [&] { return give(device, current_ordinal()); });
}

HOST_API hipError_t hipSetDevice(int device) {
  return call("hipSetDevice", Needs::kNothing,
              [&] { return set_current(device) ? hipSuccess : hipErrorInvalidDevice; });
}

HOST_API hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* properties, int device) {
  return call("hipGetDevicePropertiesR0600", Needs::kNothing, [&] {
    if (!is_device(device)) return hipErrorInvalidDevice;
    if (properties == nullptr) return hipErrorInvalidValue;
    *properties = describe_device(device);
    return hipSuccess;
  });
}

HOST_API hipError_t hipDeviceGetAttribute(int* value, int attribute, int device) {
  return call("hipDeviceGetAttribute", Needs::kNothing, [&] {
    if (!is_device(device)) return hipErrorInvalidDevice;
    return value == nullptr ? hipErrorInvalidValue : find_attribute(attribute, value, device);
  });
}

HOST_API hipError_t hipDeviceGetName(char* name, int bytes, int device) {
  return call("hipDeviceGetName", Needs::kNothing, [&] {
    if (!is_device(device)) return hipErrorInvalidDevice;
    if (name == nullptr || bytes <= 0) return hipErrorInvalidValue;
    std::snprintf(name, static_cast<std::size_t>(bytes), "%s", describe_device(device).name);
    return hipSuccess;
  });
}

HOST_API hipError_t hipMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  return call("hipMemGetInfo", Needs::kNothing, [&] {
    if (free_bytes == nullptr || total_bytes == nullptr) return hipErrorInvalidValue;
    const auto used = static_cast<std::size_t>(current_device().used_bytes);
    *total_bytes = total_memory_bytes() + used;
    *free_bytes = settings().devices.empty() ? free_memory_bytes() : total_memory_bytes();
    return hipSuccess;
  });
}

HOST_API hipError_t hipDeviceSynchronize() {
  return call("hipDeviceSynchronize", Needs::kDevice, [] { return refuse_if_capturing(); });
}

// Unlike a real device's, memory and modules stay: this only forgets a kernel's fault.
HOST_API hipError_t hipDeviceReset() {
  return call("hipDeviceReset", Needs::kNothing, [] {
    clear_fault();
    return hipSuccess;
  });
}

HOST_API hipError_t hipGetLastError() { return last_error(true); }

HOST_API hipError_t hipPeekAtLastError() { return last_error(false); }

HOST_API const char* hipGetErrorName(hipError_t error) { return error_name(error); }

HOST_API const char* hipGetErrorString(hipError_t error) { return error_sentence(error); }
