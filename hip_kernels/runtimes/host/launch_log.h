#pragma once
#include "operations.h"

namespace moesort_host {

// Opens the file that MOESORT_HOST_LAUNCH_LOG names, if it does. Its descriptor, or -1.
int launch_log();

// Appends "name grid block lds_bytes" to it.
void log_launch(const KernelLaunch& launch);

}  // namespace moesort_host
