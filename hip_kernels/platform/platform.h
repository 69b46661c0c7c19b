// The one place that asks which compiler this is. Each header below supplies what its compiler lacks of plain
// HIP, kWaveSize, and DESCRIBE_LAUNCH; the kernels see no other difference.
#pragma once
#if defined(__HIP_HOST_RUNTIME__)
#include "platform/host.h"
#elif defined(__CUDACC_RTC__)
#include "platform/nvrtc.h"
#else
#include "platform/amdgcn.h"
#endif
