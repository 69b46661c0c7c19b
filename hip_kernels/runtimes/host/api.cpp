#include "api.h"

#include "clock.h"
#include "devices.h"
#include "failures.h"
#include "fault.h"
#include "launch_log.h"
#include "settings.h"

namespace moesort_host {
namespace {

thread_local hipError_t last_error_of_thread = hipSuccess;

}  // namespace

// Everything that a wrong environment variable can spoil is read here, so that the first call tells.
bool configured() {
  static const bool read = (settings(), devices(), clock(), failures(), launch_log(), true);
  return read && !configuration_failed();
}

std::mutex& api_mutex() {
  static std::mutex& instance = *new std::mutex;
  return instance;
}

int injected_failure(const char* name) { return failures().next(name); }

hipError_t refusal(const char* name, Needs needs) {
  if (!configured()) return hipErrorInvalidConfiguration;
  if (const int code = injected_failure(name)) return static_cast<hipError_t>(code);
  return needs == Needs::kDevice && faulted() ? hipErrorLaunchFailure : hipSuccess;
}

hipError_t remember(hipError_t error) {
  if (error != hipSuccess && error != hipErrorNotReady) last_error_of_thread = error;
  return error;
}

hipError_t last_error(bool clear) {
  const hipError_t error = last_error_of_thread;
  if (clear) last_error_of_thread = hipSuccess;
  return error;
}

}  // namespace moesort_host
