// Operations of one wave, of 32 or 64 lanes. Every lane of the wave must call them.
#pragma once
#include "platform/platform.h"

__device__ __forceinline__ unsigned lane_index() { return threadIdx.x % kWaveSize; }
__device__ __forceinline__ unsigned wave_index() { return wave_uniform(threadIdx.x / kWaveSize); }

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

// Sum of `wave_sums` (one for each wave of the workgroup, at most as many as a wave has lanes) over the waves below the
// caller's own.
__device__ __forceinline__ uint32_t sum_of_lower_waves(const uint32_t* wave_sums) {
  const uint32_t sum = lane_index() < wave_index() ? wave_sums[lane_index()] : 0;
  return wave_read(wave_inclusive_sum(sum), kWaveSize - 1);
}
