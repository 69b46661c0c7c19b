// What the runtime and the modules it compiles share. The runtime includes this file twice: as code, and (with
// MOESORT_HOST_TEXT) as the text that every module begins with, so that the two can never differ. Hence no
// preprocessor line may stand inside SHARED_WITH_MODULES.
#ifdef MOESORT_HOST_TEXT
#define SHARED_WITH_MODULES(...) #__VA_ARGS__
#elif !defined(MOESORT_HOST_CODE)
#define MOESORT_HOST_CODE
#define SHARED_WITH_MODULES(...) __VA_ARGS__
#else
#define SHARED_WITH_MODULES(...)
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

// What the lanes of a wave tell each other at a wave operation.
struct Exchange {
  unsigned long long values[64];
  unsigned long long nonzero;  // lanes whose value was not zero
  unsigned lanes;              // lanes 0 to lanes - 1 exist
};

// One thread of a workgroup. It lies at the top of the fiber's stack, so that the stack pointer finds it.
struct __attribute__((aligned(64))) Lane {
  Index3 thread;  // threadIdx
  unsigned lane;  // of its wave
  Workgroup* workgroup;
  const Exchange* exchanged;  // by its last wave operation
};

// A fiber's stack, a power of two and aligned to itself, ends with its lane. As all stacks are aligned alike, what lies at
// one offset of each would fall into one set of the caches; so they end a little lower than their neighbours, in turn.
constexpr unsigned long kStackBytes = 65536;
constexpr unsigned long kColours = 16;
constexpr unsigned long kColourBytes = 192;
inline __attribute__((always_inline)) Lane* lane_of_stack(unsigned long stack) {
  const unsigned long colour = stack / kStackBytes % kColours;
  return reinterpret_cast<Lane*>((stack | (kStackBytes - 1)) + 1 - sizeof(Lane) - colour * kColourBytes);
}

enum class Access : int { kRead, kWrite };

// What a module may call. `operation`, `file` and `line` say where the lane waits. `exchange` leaves what the wave
// exchanged in the lane: a returned value would cost the processor a wrong guess at every switch.
struct Runtime {
  void (*barrier)(const char* operation, const char* file, int line);
  void (*exchange)(Lane*, const char* operation, const char* file, int line, unsigned long long value);
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
