// What became of a call: CUDA's code as HIP's, and a sentence that says more than a code can.
#pragma once
#include "hip.h"

#pragma GCC visibility push(hidden)

// HIP's code for what `call` returned. A failure becomes the thread's last error and its sentence names the
// call and CUDA's own error; hipErrorNotReady is an answer, not a failure, and is not kept.
hipError_t told_by_cuda(const char* call, CUresult result);

// Makes `error` the thread's last error with this sentence, and returns it.
hipError_t refuse(hipError_t error, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Only the sentence, for calls outside HIP's last error (hiprtc).
void explain(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The error of the thread's latest failed call.
hipError_t latest_failure(void);

#pragma GCC visibility pop
