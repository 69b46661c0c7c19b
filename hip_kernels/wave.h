// Operations of one wave, of 32 or 64 lanes. Every lane of the wave must call them.
#pragma once
#include "platform/platform.h"

__device__ __forceinline__ unsigned lane_index() { return threadIdx.x % kWaveSize; }
__device__ __forceinline__ unsigned wave_index() { return threadIdx.x / kWaveSize; }

// Sum of the values of lanes 0 to the caller's own.
__device__ __forceinline__ uint32_t wave_inclusive_sum(uint32_t value) {
  for (unsigned distance = 1; distance < kWaveSize; distance *= 2) {
    const uint32_t below = __shfl_up(value, distance);
    if (lane_index() >= distance) value += below;
  }
  return value;
}

// How many lanes below the caller's own have the predicate, and how many of the whole wave.
struct WaveCount {
  uint32_t below;
  uint32_t all;
};

__device__ __forceinline__ WaveCount wave_count(bool predicate) {
  const unsigned long long lanes = __ballot(predicate);
  const unsigned long long lanes_below = (1ull << lane_index()) - 1;
  return {static_cast<uint32_t>(__popcll(lanes & lanes_below)), static_cast<uint32_t>(__popcll(lanes))};
}
