// Plain HIP's names on top of clang's AMDGPU builtins, for `clang++ -x hip -nogpuinc -nogpulib` without ROCm.
// Only what the kernels use. Meaning as in the HIP programming guide; every function is for full waves of 64.
#pragma once
#include "platform/integers.h"

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define HIP_DYNAMIC_SHARED(type, name) extern __shared__ type name[]

struct dim3 {
  unsigned x, y, z;
};

namespace amdgcn {

struct ThreadIndex {
  struct Axis {
    __device__ __forceinline__ operator unsigned() const { return __builtin_amdgcn_workitem_id_x(); }
  } x;
};
struct BlockIndex {
  struct Axis {
    __device__ __forceinline__ operator unsigned() const { return __builtin_amdgcn_workgroup_id_x(); }
  } x;
};
struct BlockSize {
  struct Axis {
    __device__ __forceinline__ operator unsigned() const { return __builtin_amdgcn_workgroup_size_x(); }
  } x;
};

struct GridSize {
  struct Axis {
    __device__ __forceinline__ operator unsigned() const {
      return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x();
    }
  } x;
};

}  // namespace amdgcn

static __device__ constexpr amdgcn::ThreadIndex threadIdx{};
static __device__ constexpr amdgcn::BlockIndex blockIdx{};
static __device__ constexpr amdgcn::BlockSize blockDim{};
static __device__ constexpr amdgcn::GridSize gridDim{};

__device__ __forceinline__ unsigned __lane_id() {
  return __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
}

// LDS written before the barrier is seen by every thread of the workgroup after it.
__device__ __forceinline__ void __syncthreads() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

__device__ __forceinline__ unsigned long long __ballot(int predicate) {
  return __builtin_amdgcn_ballot_w64(predicate != 0);
}

__device__ __forceinline__ unsigned __shfl(unsigned value, int lane) {
  return __builtin_amdgcn_ds_bpermute(lane << 2, value);
}

__device__ __forceinline__ unsigned __shfl_up(unsigned value, unsigned distance) {
  const int lane = __lane_id();
  const int source = lane - static_cast<int>(distance);
  return __shfl(value, source < 0 ? lane : source);
}

__device__ __forceinline__ int __popc(unsigned bits) { return __builtin_popcount(bits); }
__device__ __forceinline__ int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
__device__ __forceinline__ int __ffsll(unsigned long long bits) { return __builtin_ffsll(bits); }

__device__ __forceinline__ unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}

// Relaxed, as in HIP: the barrier that follows does the ordering.
__device__ __forceinline__ unsigned atomicOr(unsigned* address, unsigned bits) {
  return __hip_atomic_fetch_or(address, bits, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
__device__ __forceinline__ unsigned atomicAdd(unsigned* address, unsigned value) {
  return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

struct uint4 {
  unsigned x, y, z, w;
} __attribute__((aligned(16)));
__device__ __forceinline__ uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
