// What every exported call does first and last.
#pragma once
#include <mutex>
#include <new>

#include "fault.h"
#include "hip_types.h"

#define HOST_API extern "C" __attribute__((visibility("default")))

namespace moesort_host {

// Whether a call still works after a kernel has failed: queries and giving back do, device work does not.
enum class Needs { kNothing, kDevice };

std::mutex& api_mutex();

// Reads the configuration at the first call. The code that `name` must return at once, or 0.
int refusal(const char* name);

hipError_t remember(hipError_t error);
hipError_t last_error(bool clear);

// Runs the body of the exported function `name`. Calls run one at a time.
template <typename Body>
hipError_t call(const char* name, Needs needs, Body body) {
  const std::lock_guard<std::mutex> lock(api_mutex());
  hipError_t error = static_cast<hipError_t>(refusal(name));
  if (error == hipSuccess && needs == Needs::kDevice && faulted()) error = hipErrorLaunchFailure;
  if (error != hipSuccess) return remember(error);
  try {
    error = body();
  } catch (const std::bad_alloc&) {
    error = hipErrorOutOfMemory;
  }
  return remember(error);
}

// The same for hiprtc*, which take long and may run side by side.
template <typename Body>
hiprtcResult call_compiler(const char* name, Body body) {
  if (const int code = refusal(name)) return static_cast<hiprtcResult>(code);
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return HIPRTC_ERROR_OUT_OF_MEMORY;
  }
}

}  // namespace moesort_host
