// Zeroing of moe_buf by workgroups that have nothing else to do.
#pragma once
#include "arguments.h"

// Workgroup `worker` of `workers` writes its share of `bytes` zero bytes at `buffer`, whose address and
// length need no alignment: 16 bytes a thread on the aligned middle, single bytes on the at most 15 before
// and behind it.
__device__ __forceinline__ void zero_share(void* buffer, unsigned long long bytes, unsigned worker, unsigned workers) {
  constexpr unsigned kVector = 16;
  unsigned char* const begin = static_cast<unsigned char*>(buffer);
  const unsigned misaligned = reinterpret_cast<unsigned long long>(begin) % kVector;
  unsigned long long head = misaligned == 0 ? 0 : kVector - misaligned;
  if (head > bytes) head = bytes;
  const unsigned long long vectors = (bytes - head) / kVector;
  const unsigned tail = static_cast<unsigned>((bytes - head) % kVector);

  const unsigned long long stride = static_cast<unsigned long long>(workers) * blockDim.x;
  uint4* const middle = reinterpret_cast<uint4*>(begin + head);
  for (unsigned long long i = static_cast<unsigned long long>(worker) * blockDim.x + threadIdx.x; i < vectors;
       i += stride)
    middle[i] = make_uint4(0, 0, 0, 0);

  if (worker != 0) return;
  if (threadIdx.x < head) begin[threadIdx.x] = 0;
  if (threadIdx.x < tail) begin[bytes - tail + threadIdx.x] = 0;
}

// Workgroups behind the sorting ones zero their share of moe_buf; the others are told to sort.
__device__ __forceinline__ bool zeroed_instead(const SortingArguments& arguments) {
#ifdef MOESORT_ALIGN
  return false;  // this form has no moe_buf
#else
  const uint32_t sorting_workgroups = arguments.sorting_workgroups;
  if (blockIdx.x < sorting_workgroups) return false;
  zero_share(arguments.moe_buf, arguments.moe_buf_bytes, blockIdx.x - sorting_workgroups,
             gridDim.x - sorting_workgroups);
  return true;
#endif
}
