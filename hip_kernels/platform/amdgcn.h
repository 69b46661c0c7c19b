// gfx90a, gfx942 and gfx950: names of HIP for a clang without ROCm's headers; hiprtc brings them itself.
#pragma once
#if !defined(__gfx90a__) && !defined(__gfx942__) && !defined(__gfx950__) && defined(__AMDGCN__)
#error "moesort-tune's kernels are built for gfx90a, gfx942 and gfx950; add the new target's facts here"
#endif

constexpr unsigned kWaveSize = 64;  // CDNA has wave64 only

#define DESCRIBE_LAUNCH(type, tokens, experts, topk)

#if defined(__HIPCC_RTC__)
#include "platform/integers.h"
#ifndef HIP_DYNAMIC_SHARED  // ROCm 5's hiprtc does not bring it
#define HIP_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif
#else
#include "platform/amdgcn_builtins.h"
#endif

// Launches of a stream run one after another here; platform/nvrtc.h says what else these could do.
#define STARTS_EARLY(kernel)
__device__ __forceinline__ void let_next_launch_start() {}
__device__ __forceinline__ void wait_for_launch_before() {}
