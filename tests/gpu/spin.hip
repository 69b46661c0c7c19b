// A kernel whose duration is known: it waits until the device's own wall clock has gone on by so many nanoseconds.
#include "platform/platform.h"

struct SpinArguments {
  unsigned long long nanoseconds;
};

__device__ unsigned long long nanoseconds_now() {
#if defined(__CUDACC_RTC__)
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
#else
  return __builtin_readsteadycounter() * 10;  // 100 MHz on gfx9
#endif
}

extern "C" __global__ void spin(const SpinArguments arguments) {
  const unsigned long long start = nanoseconds_now();
  while (nanoseconds_now() - start < arguments.nanoseconds) {
  }
}
