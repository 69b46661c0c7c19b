// What every exported call does first and last.
#pragma once
#include <mutex>
#include <new>

#include "hip_types.h"

#define HOST_API extern "C" __attribute__((visibility("default")))

namespace moesort_host {

// Whether a call still works after a kernel has failed: queries and giving back do, device work does not.
enum class Needs { kNothing, kDevice };

std::mutex& api_mutex();

// Whether the environment variables, read at the first call, are right.
bool configured();

// The code that MOESORT_HOST_FAIL wants this call of `name` to return, or 0.
int injected_failure(const char* name);

// What keeps `name` from being done, if anything does.
hipError_t refusal(const char* name, Needs needs);

hipError_t remember(hipError_t error);
hipError_t last_error(bool clear);

// Runs the body of the exported function `name`. Calls run one at a time.
template <typename Body>
hipError_t call(const char* name, Needs needs, Body body) {
  const std::lock_guard<std::mutex> lock(api_mutex());
  hipError_t error = refusal(name, needs);
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
  if (!configured()) return HIPRTC_ERROR_INTERNAL_ERROR;
  if (const int code = injected_failure(name)) return static_cast<hiprtcResult>(code);
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return HIPRTC_ERROR_OUT_OF_MEMORY;
  }
}

}  // namespace moesort_host
