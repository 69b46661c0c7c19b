// Wave operations by shuffles: for every target that has no better way.
#pragma once

// `value`, which all lanes of the wave hold alike.
__device__ __forceinline__ uint32_t wave_uniform(uint32_t value) { return value; }

// The value of `lane`, which all lanes of the wave name alike.
__device__ __forceinline__ uint32_t wave_read(uint32_t value, uint32_t lane) { return __shfl(value, lane); }

// Sum of the values of lanes 0 to the caller's own. Every lane of the wave must call it.
// Source: Hillis and Steele, Data Parallel Algorithms (1986).
__device__ __forceinline__ uint32_t wave_inclusive_sum(uint32_t value) {
  const unsigned lane = threadIdx.x % kWaveSize;
  for (unsigned distance = 1; distance < kWaveSize; distance *= 2) {
    const uint32_t below = __shfl_up(value, distance);
    if (lane >= distance) value += below;
  }
  return value;
}

// How many of `lanes`, which each lane of the wave may name differently, are below the caller's own.
__device__ __forceinline__ uint32_t count_lanes_below(unsigned long long lanes) {
  return __popcll(lanes & ((1ull << threadIdx.x % kWaveSize) - 1));
}

// All ones if `value` has the bit, else 0.
__device__ __forceinline__ uint32_t spread_bit(uint32_t value, uint32_t bit) {
  return static_cast<int32_t>(value << (31 - bit)) >> 31;
}
