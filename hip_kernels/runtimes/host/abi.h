// What the runtime and the modules it compiles share. The runtime includes this file twice: as code, and (with
// MOESORT_HOST_TEXT) as the text that every module begins with, so that the two can never differ. Hence no
// preprocessor line may stand inside SHARED_WITH_MODULES.
#ifdef MOESORT_HOST_TEXT
#define SHARED_WITH_MODULES(...) #__VA_ARGS__
#else
#pragma once
#define SHARED_WITH_MODULES(...) __VA_ARGS__
#endif

// clang-format off
SHARED_WITH_MODULES(
namespace moesort_host {

struct Index3 {
  unsigned x;
  unsigned y;
  unsigned z;
};

// What all lanes of a workgroup see.
struct Workgroup {
  Index3 index;  // blockIdx
  Index3 size;   // blockDim
  Index3 count;  // gridDim
  void* lds;
};

// One thread of a workgroup. It lies at the top of the fiber's stack, so that the stack pointer finds it.
struct Lane {
  Index3 thread;  // threadIdx
  unsigned lane;  // of its wave
  Workgroup* workgroup;
  void* runner;
};

// A fiber's stack, a power of two and aligned to itself.
constexpr unsigned long kStackBytes = 65536;
constexpr unsigned long kLaneOffset = kStackBytes - 64;
static_assert(sizeof(Lane) <= 64, "a Lane must fit above the stack");

// What the lanes of a wave tell each other at a wave operation.
struct Exchange {
  unsigned long long values[64];
  unsigned long long nonzero;  // lanes whose value was not zero
  unsigned lanes;              // lanes 0 to lanes - 1 exist
};

enum class Access : int { kRead, kWrite };

// What a module may call. `operation`, `file` and `line` say where the lane waits.
struct Runtime {
  void (*barrier)(Lane*, const char* operation, const char* file, int line);
  const Exchange* (*exchange)(Lane*, unsigned long long value, const char* operation, const char* file, int line);
  void (*check)(const void* address, unsigned long bytes, Access, const void* return_address);
  void* (*fill)(void* target, int value, unsigned long bytes);
  void* (*move)(void* target, const void* source, unsigned long bytes);
};

// What a launch works on, for the virtual clock's formulas.
struct LaunchShape {
  double tokens;
  double experts;
  double topk;
};

struct Parameter {
  unsigned long bytes;
  unsigned long alignment;
};

struct KernelEntry {
  const char* name;
  void (*call)(void* const* parameters);
  const Parameter* parameters;
  unsigned parameter_count;
  LaunchShape (*describe)(const void* first_parameter);  // null when nothing describes it
};

// Exported by every module as `moesort_host_module`.
struct ModuleEntry {
  const KernelEntry* kernels;
  unsigned kernel_count;
  const Runtime** runtime;
};

}  // namespace moesort_host
)
// clang-format on

#undef SHARED_WITH_MODULES
