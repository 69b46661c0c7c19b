// The one thing that CUDA has and HIP has not: a context that must be current on each calling thread.
#pragma once
#include "errors.h"

#pragma GCC visibility push(hidden)

// True once the calling thread has a context, which is the primary one of device 0 if the thread had none yet:
// the context of PyTorch and of every other user of CUDA's runtime API, so pointers, streams and the
// current device are shared with them. False where that failed; latest_failure() says how.
bool context_is_current(void);

// Makes the primary context of a device current on the calling thread.
hipError_t use_device(int ordinal);

// Like `sm_90`, of the device that is current on the calling thread.
hipError_t name_current_architecture(char* name, size_t bytes);

#pragma GCC visibility pop

// One call of HIP as one call of the driver.
#define FORWARD(call, ...) (context_is_current() ? told_by_cuda(#call, cuda.call(__VA_ARGS__)) : latest_failure())

// The same for calls that need no context, such as questions about a device.
#define FORWARD_WITHOUT_CONTEXT(call, ...) \
  (driver_is_ready() ? told_by_cuda(#call, cuda.call(__VA_ARGS__)) : latest_failure())

static inline CUdeviceptr address(const void* pointer) { return (CUdeviceptr)pointer; }
