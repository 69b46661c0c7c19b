// Operations of one wave, of 32 or 64 lanes. Every lane of the wave must call them.
#pragma once
#include "platform/platform.h"

__device__ __forceinline__ unsigned lane_index() { return threadIdx.x % kWaveSize; }
__device__ __forceinline__ unsigned wave_index() { return wave_uniform(threadIdx.x / kWaveSize); }

// A set of the wave's lanes, a bit each.
template <unsigned kSize>
struct LanesOf {
  using Type = unsigned long long;
};
template <>
struct LanesOf<32> {
  using Type = uint32_t;
};
using Lanes = LanesOf<kWaveSize>::Type;

__device__ __forceinline__ Lanes lanes_where(bool predicate) { return static_cast<Lanes>(__ballot(predicate)); }

// All lanes if `mask` is all ones, none if it is 0.
__device__ __forceinline__ Lanes lanes_if(uint32_t mask) {
  return sizeof(Lanes) == sizeof(uint32_t) ? mask
                                           : static_cast<Lanes>(static_cast<unsigned long long>(mask) << 32 | mask);
}

__device__ __forceinline__ uint32_t count_lanes(Lanes lanes) {
  return sizeof(Lanes) == sizeof(uint32_t) ? __popc(static_cast<uint32_t>(lanes)) : __popcll(lanes);
}

// The value of `lane`, which each lane of the wave may name differently.
__device__ __forceinline__ uint32_t wave_gather(uint32_t value, uint32_t lane) { return __shfl(value, lane); }
__device__ __forceinline__ unsigned long long wave_gather(unsigned long long value, uint32_t lane) {
  const uint32_t low = wave_gather(static_cast<uint32_t>(value), lane);
  return static_cast<unsigned long long>(wave_gather(static_cast<uint32_t>(value >> 32), lane)) << 32 | low;
}

// Of `lanes`, which must not be empty.
__device__ __forceinline__ uint32_t first_lane(Lanes lanes) { return __ffsll(lanes) - 1; }

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
