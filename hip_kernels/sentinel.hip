// sentinel: the same arithmetic at every launch, so that its time tells the device's clock and nothing else.
//
// Grid: one workgroup of one wave. Writes result[thread], blockDim.x floats, so that no step can be left out.
#include "platform/platform.h"

struct SentinelArguments {
  float* result;   // [blockDim.x]
  uint32_t steps;  // each waits for the one before
  uint32_t reserved;
};

DESCRIBE_LAUNCH(SentinelArguments, 0, 0, 0)

extern "C" __global__ void sentinel(const SentinelArguments arguments) {
  float value = static_cast<float>(threadIdx.x);
  for (uint32_t step = 0; step < arguments.steps; ++step) value = value * 0.5f + 1.0f;
  arguments.result[threadIdx.x] = value;
}
