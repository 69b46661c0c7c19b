// NVIDIA's run-time compiler, opened at run time like the driver. Needs no GPU and no driver.
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef int nvrtcResult;
typedef struct nvrtcProgram_st* nvrtcProgram;

// X(what it returns, its name, its parameters)
#define NVRTC_CALLS(X)                                                                                    \
  X(const char*, nvrtcGetErrorString, (nvrtcResult result))                                               \
  X(nvrtcResult, nvrtcVersion, (int* major, int* minor))                                                  \
  X(nvrtcResult, nvrtcCreateProgram,                                                                      \
    (nvrtcProgram * program, const char* source, const char* name, int count, const char* const* headers, \
     const char* const* header_names))                                                                    \
  X(nvrtcResult, nvrtcCompileProgram, (nvrtcProgram program, int count, const char* const* options))      \
  X(nvrtcResult, nvrtcDestroyProgram, (nvrtcProgram * program))                                           \
  X(nvrtcResult, nvrtcGetCUBINSize, (nvrtcProgram program, size_t* bytes))                                \
  X(nvrtcResult, nvrtcGetCUBIN, (nvrtcProgram program, char* code))                                       \
  X(nvrtcResult, nvrtcGetProgramLogSize, (nvrtcProgram program, size_t* bytes))                           \
  X(nvrtcResult, nvrtcGetProgramLog, (nvrtcProgram program, char* log))                                   \
  X(nvrtcResult, nvrtcAddNameExpression, (nvrtcProgram program, const char* expression))                  \
  X(nvrtcResult, nvrtcGetLoweredName, (nvrtcProgram program, const char* expression, const char** name))

#pragma GCC visibility push(hidden)

#define NVRTC_MEMBER(returns, name, parameters) returns(*name) parameters;
struct Nvrtc {
  NVRTC_CALLS(NVRTC_MEMBER)
};
#undef NVRTC_MEMBER

// Filled by nvrtc_is_ready().
extern struct Nvrtc nvrtc;

// Finds and opens libnvrtc, once in a process; README.md says where it looks. False, with the thread's problem
// told, where there is none that fits.
bool nvrtc_is_ready(void);

#pragma GCC visibility pop
