// Wave operations with what CDNA has for a wave of 64: scalar registers, and additions whose operand is moved between
// lanes (data-parallel primitives). The same functions as in wave_portable.h.
#pragma once

// `value`, which all lanes of the wave hold alike, in a scalar register.
__device__ __forceinline__ uint32_t wave_uniform(uint32_t value) { return __builtin_amdgcn_readfirstlane(value); }

// The value of `lane`, which all lanes of the wave name alike.
__device__ __forceinline__ uint32_t wave_read(uint32_t value, uint32_t lane) {
  return __builtin_amdgcn_readlane(value, wave_uniform(lane));
}

// Sum of the values of lanes 0 to the caller's own. Every lane of the wave must call it.
// Within each row of 16 lanes by shifts (row_shr 1, 2, 4, 8), then across rows: lane 15 of a row is added to the next
// row (row_bcast15, rows 1 and 3), lane 31 to the upper half (row_bcast31, rows 2 and 3).
// Source: AMD, CDNA 3 Instruction Set Architecture, section on DPP controls.
__device__ __forceinline__ uint32_t wave_inclusive_sum(uint32_t value) {
  constexpr int kShiftBy1 = 0x111, kShiftBy2 = 0x112, kShiftBy4 = 0x114, kShiftBy8 = 0x118;
  constexpr int kBroadcast15 = 0x142, kBroadcast31 = 0x143;
  constexpr int kAllRows = 0xf, kAllBanks = 0xf, kOddRows = 0xa, kUpperRows = 0xc;
  value += __builtin_amdgcn_update_dpp(0, value, kShiftBy1, kAllRows, kAllBanks, false);
  value += __builtin_amdgcn_update_dpp(0, value, kShiftBy2, kAllRows, kAllBanks, false);
  value += __builtin_amdgcn_update_dpp(0, value, kShiftBy4, kAllRows, kAllBanks, false);
  value += __builtin_amdgcn_update_dpp(0, value, kShiftBy8, kAllRows, kAllBanks, false);
  value += __builtin_amdgcn_update_dpp(0, value, kBroadcast15, kOddRows, kAllBanks, false);
  value += __builtin_amdgcn_update_dpp(0, value, kBroadcast31, kUpperRows, kAllBanks, false);
  return value;
}

// How many of `lanes`, which each lane of the wave may name differently, are below the caller's own.
__device__ __forceinline__ uint32_t count_lanes_below(unsigned long long lanes) {
  return __builtin_amdgcn_mbcnt_hi(lanes >> 32, __builtin_amdgcn_mbcnt_lo(static_cast<uint32_t>(lanes), 0));
}

// All ones if `value` has the bit, else 0: one instruction, which a comparison with 0 of its result leaves alone.
__device__ __forceinline__ uint32_t spread_bit(uint32_t value, uint32_t bit) {
  return __builtin_amdgcn_sbfe(value, bit, 1);
}
