// Runs the workgroups of a launch side by side on the machine's cores.
#pragma once
#include "runner.h"

namespace moesort_host {

// Returns when all workgroups have ended, or soon after one failed (launch.failed).
void run_workgroups(Launch& launch);

// What modules call; see abi.h.
const Runtime& module_runtime();

}  // namespace moesort_host
