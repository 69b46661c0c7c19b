// What SGLang's pair-axis kernels use of its sgl_kernel headers, which include a tensor library and host code. Each
// function does what theirs does on sm_80 and newer: a sum over a warp is one instruction, a vector store one of 16
// bytes.
#pragma once
#define INT_MAX 2147483647

namespace sglang {
namespace device {

constexpr uint32_t kWarpThreads = 32;

template <typename T, unsigned kElements>
struct alignas(sizeof(T) * kElements) AlignedVector {
  T elements[kElements];

  __device__ __forceinline__ void fill(T value) {
#pragma unroll
    for (unsigned i = 0; i < kElements; ++i) elements[i] = value;
  }

  __device__ __forceinline__ void store(void* target, int64_t index) const {
    static_cast<AlignedVector*>(target)[index] = *this;
  }
};

namespace warp {
__device__ __forceinline__ uint32_t reduce_sum(uint32_t value) { return __reduce_add_sync(0xffffffffu, value); }
}  // namespace warp

__device__ __forceinline__ uint32_t div_ceil(uint32_t value, uint32_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Nothing here is launched as a programmatic dependent of the launch before it.
template <bool kUsePDL>
__device__ __forceinline__ void PDLWaitPrimary() {
  static_assert(!kUsePDL, "launches are plain");
}

template <bool kUsePDL>
__device__ __forceinline__ void PDLTriggerSecondary() {
  static_assert(!kUsePDL, "launches are plain");
}

}  // namespace device
}  // namespace sglang
