// Launches that may start before the launch in front of them has ended: CUDA's programmatic dependent launch.
//
// A kernel declares that it takes part by a second kernel in its module, named like it with `_starts_early` behind;
// nothing launches that one. The kernel itself must wait (`griddepcontrol.wait`) before it touches what the launch in
// front of it writes or reads. It is launched as usual where the driver is older than 12.3, the first to keep such
// launches in graphs, and where MOESORT_CUDA_EARLY_START is 0 when the kernel is loaded.
// Source: NVIDIA, CUDA Programming Guide, section on programmatic dependent launch.
#pragma once
#include "driver.h"

#pragma GCC visibility push(hidden)

// Notes whether the function, whose name this is, declares it.
void note_early_start(CUfunction function, CUmodule module, const char* name);

// Forgets the functions of a module that is unloaded.
void forget_early_starts(CUmodule module);

bool starts_early(CUfunction function);

#pragma GCC visibility pop
