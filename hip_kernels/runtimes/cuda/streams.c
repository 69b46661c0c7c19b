// Streams and events. The null stream and CUDA's two special handles (1 legacy, 2 per thread) are HIP's too.
#include "context.h"

// hipEventBlockingSync, DisableTiming and Interprocess are CUDA's bits; above them are AMD's cache fences,
// which CUDA has no choice about.
enum { kCudaEventFlags = 7 };

EXPORT hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned flags) {
  return FORWARD(cuStreamCreate, stream, flags);
}

EXPORT hipError_t hipStreamCreate(hipStream_t* stream) { return FORWARD(cuStreamCreate, stream, 0); }

EXPORT hipError_t hipStreamCreateWithPriority(hipStream_t* stream, unsigned flags, int priority) {
  return FORWARD(cuStreamCreateWithPriority, stream, flags, priority);
}

EXPORT hipError_t hipStreamDestroy(hipStream_t stream) { return FORWARD(cuStreamDestroy, stream); }

EXPORT hipError_t hipStreamQuery(hipStream_t stream) { return FORWARD(cuStreamQuery, stream); }

EXPORT hipError_t hipStreamSynchronize(hipStream_t stream) { return FORWARD(cuStreamSynchronize, stream); }

EXPORT hipError_t hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned flags) {
  return FORWARD(cuStreamWaitEvent, stream, event, flags);
}

EXPORT hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned flags) {
  return FORWARD(cuEventCreate, event, flags & kCudaEventFlags);
}

EXPORT hipError_t hipEventCreate(hipEvent_t* event) { return FORWARD(cuEventCreate, event, 0); }

EXPORT hipError_t hipEventDestroy(hipEvent_t event) { return FORWARD(cuEventDestroy, event); }

EXPORT hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream) { return FORWARD(cuEventRecord, event, stream); }

EXPORT hipError_t hipEventQuery(hipEvent_t event) { return FORWARD(cuEventQuery, event); }

EXPORT hipError_t hipEventSynchronize(hipEvent_t event) { return FORWARD(cuEventSynchronize, event); }

EXPORT hipError_t hipEventElapsedTime(float* milliseconds, hipEvent_t start, hipEvent_t stop) {
  return FORWARD(cuEventElapsedTime, milliseconds, start, stop);
}
