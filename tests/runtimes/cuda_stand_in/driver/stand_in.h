// A stand-in for libcuda.so.1: two devices whose memory is the host's, every call executed at once and written down.
// It is as strict as the driver where that catches mistakes: a call without a context, a launch with more shared memory
// than the kernel was allowed, a list of `extra` without CUDA's end mark, code for another architecture.
//
// CUDA_STAND_IN_FAIL=<symbol>=<code> makes that call return the code, without doing anything.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"

enum {
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kFileNotFound = 301,
  kInvalidHandle = 400,
  kNotFound = 500,
  kCaptureUnmatched = 903,
};

// Writes a call down. Returns the code of its configured failure, or 0.
CUresult note(const char* symbol, const char* format, ...);

// Writes the call down; returns from it where it is configured to fail.
#define CALLED(...)                                     \
  do {                                                  \
    const CUresult told_ = note(__func__, __VA_ARGS__); \
    if (told_ != CUDA_SUCCESS) return told_;            \
  } while (0)

// The same for a call that needs a context.
#define CALLED_IN_CONTEXT(...)                           \
  do {                                                   \
    CALLED(__VA_ARGS__);                                 \
    if (current_context == NULL) return kInvalidContext; \
  } while (0)

struct CUctx_st {
  CUdevice device;
};
extern _Thread_local CUcontext current_context;

// "block 0", "block 0 + 16", "host" for memory that is none of the stand-in's; "stream 0" for the null stream.
const char* name_of(CUdeviceptr pointer);
const char* stream_name(CUstream stream);

struct FillArguments {
  int32_t* data;
  int32_t count;
  int32_t value;
};

struct Operation {
  int type;  // CUgraphNodeType: 0 kernel, 1 memcpy, 2 memset
  CUdeviceptr to;
  CUdeviceptr from;
  size_t bytes;
  size_t element_bytes;
  unsigned value;
  struct FillArguments arguments;
};

enum { kMaxOperations = 16 };

struct CUgraph_st {
  int count;
  struct Operation operations[kMaxOperations];
};
struct CUgraphExec_st {
  struct CUgraph_st graph;
};
struct CUstream_st {
  int number;
  CUgraph capture;
};

// Does the operation, or adds it to the graph that the stream captures.
CUresult submit(CUstream stream, struct Operation operation);
void execute(const struct Operation* operation);
