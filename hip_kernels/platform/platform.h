// The one place that asks which compiler this is. The headers below supply what their compiler lacks of plain HIP,
// kWaveSize, DESCRIBE_LAUNCH and the wave operations; the kernels see no other difference.
#pragma once
#if defined(__HIP_HOST_RUNTIME__)
#include "platform/host.h"
#include "platform/wave_portable.h"
#elif defined(__CUDACC_RTC__)
#include "platform/nvrtc.h"
#include "platform/wave_portable.h"
#else
#include "platform/amdgcn.h"
#include "platform/wave_gfx9.h"
#endif
