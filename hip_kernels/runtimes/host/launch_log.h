#pragma once
#include "operations.h"

namespace moesort_host {

// Appends "name grid block lds_bytes" to the file that MOESORT_HOST_LAUNCH_LOG names, if it does.
void log_launch(const KernelLaunch& launch);

}  // namespace moesort_host
