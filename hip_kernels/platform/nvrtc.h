// NVIDIA GPUs from sm_80 on, compiled by NVRTC: what CUDA lacks of plain HIP's names, or has under another one.
// CUDA's wave operations name the lanes that take part; here, as in HIP, it is all of them, so every lane of the wave
// must call them.
#pragma once
#include "platform/integers.h"

constexpr unsigned kWaveSize = 32;
constexpr unsigned kAllLanes = 0xffffffff;

#define DESCRIBE_LAUNCH(type, tokens, experts, topk)

// 16: the widest load and store.
#define HIP_DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]

// A launch may start before the one in front of it has ended, if the one in front says that it may, and if its own
// kernel declares it with STARTS_EARLY; it must then wait before it touches what the other writes or reads. See
// runtimes/cuda/early.h.
#if __CUDA_ARCH__ >= 900
#define STARTS_EARLY(kernel) \
  extern "C" __global__ void kernel##_starts_early() {}
__device__ __forceinline__ void let_next_launch_start() { asm volatile("griddepcontrol.launch_dependents;"); }
__device__ __forceinline__ void wait_for_launch_before() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
#else
#define STARTS_EARLY(kernel)
__device__ __forceinline__ void let_next_launch_start() {}
__device__ __forceinline__ void wait_for_launch_before() {}
#endif

__device__ __forceinline__ unsigned __lane_id() {
  unsigned lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// Macros, because NVRTC still declares functions of these names, which no GPU from sm_70 on has. A mask of
// lanes has 64 bits, as in HIP.
#define __ballot(predicate) static_cast<unsigned long long>(__ballot_sync(kAllLanes, predicate))
#define __any(predicate) __any_sync(kAllLanes, predicate)
#define __all(predicate) __all_sync(kAllLanes, predicate)
#define __shfl(value, ...) __shfl_sync(kAllLanes, value, __VA_ARGS__)
#define __shfl_up(value, ...) __shfl_up_sync(kAllLanes, value, __VA_ARGS__)
#define __shfl_down(value, ...) __shfl_down_sync(kAllLanes, value, __VA_ARGS__)
#define __shfl_xor(value, ...) __shfl_xor_sync(kAllLanes, value, __VA_ARGS__)
