// The host runtime: its hiprtc brings HIP's own names with it.
#pragma once

constexpr unsigned kWaveSize = warpSize;

// Tells the virtual clock what a launch with this parameter block works on: `tokens`, `experts` and `topk` are
// expressions of `arguments`. It runs outside every kernel thread, where checking mode has nobody to name.
#define DESCRIBE_LAUNCH(Parameters, tokens, experts, topk)                                                 \
  template <>                                                                                              \
  struct moesort_host::Describe<Parameters> {                                                              \
    __attribute__((no_sanitize("kernel-address"))) static LaunchShape shape(const void* first_parameter) { \
      const Parameters& arguments = *static_cast<const Parameters*>(first_parameter);                      \
      return {static_cast<double>(tokens), static_cast<double>(experts), static_cast<double>(topk)};       \
    }                                                                                                      \
  };

// Launches of a stream run one after another here; platform/nvrtc.h says what else these could do.
#define STARTS_EARLY(kernel)
__device__ __forceinline__ void let_next_launch_start() {}
__device__ __forceinline__ void wait_for_launch_before() {}
