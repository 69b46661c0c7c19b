// What went wrong for good. A kernel's fault: like a device's fault it stays: later device work fails until
// hipDeviceReset.
#pragma once
#include <string>

namespace moesort_host {

// Keeps the first sentence since the last clear, and says it on stderr. Safe from any thread.
void record_fault(const std::string& sentence);
bool faulted();
void clear_fault();

// The same for a wrong environment variable, which cannot be cleared: every call fails.
void record_configuration_error(const std::string& sentence);
bool configuration_failed();

}  // namespace moesort_host

// The sentence of the wrong configuration or of the fault, or an empty string. For callers that want to quote it.
extern "C" const char* moesort_host_last_fault();
