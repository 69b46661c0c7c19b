// The members of cub::BlockScan that vLLM's kernels use, for machines without CUDA's headers: an exclusive sum over all
// threads of a block by warp scans. CUB's default scans rows of a matrix in shared memory by one warp instead, so times
// with this header are not vLLM's own; the script says so wherever it had to use it.
#pragma once

namespace cub {

template <typename T, int kThreads>
class BlockScan {
 public:
  struct TempStorage {
    T warp_sums[32];
  };

  __device__ explicit BlockScan(TempStorage& storage) : storage_(storage) {}

  __device__ void ExclusiveSum(T input, T& output) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const T inclusive = scan_warp(input, lane);
    if (lane == 31) storage_.warp_sums[warp] = inclusive;
    __syncthreads();  // every warp's sum is there
    if (warp == 0) {
      const T sum = lane < kThreads / 32 ? storage_.warp_sums[lane] : T(0);
      storage_.warp_sums[lane] = scan_warp(sum, lane) - sum;
    }
    __syncthreads();  // the sums of the warps before are there
    output = storage_.warp_sums[warp] + inclusive - input;
  }

 private:
  __device__ static T scan_warp(T value, int lane) {
    for (int offset = 1; offset < 32; offset *= 2) {
      const T below = __shfl_up_sync(0xffffffffu, value, offset);
      if (lane >= offset) value += below;
    }
    return value;
  }

  TempStorage& storage_;
};

}  // namespace cub
