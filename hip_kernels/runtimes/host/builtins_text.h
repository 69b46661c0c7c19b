R"HIP(
// Plain HIP's names for a C++ compiler. The lines of abi.h stand before these.

#define __HIP_HOST_RUNTIME__ 1
#define __host__
#define __device__
// The runtime finds the kernels of a preprocessed source by this section's name.
#define __global__ __attribute__((section(".text.hip_kernels")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static_assert(false, "the host runtime has dynamic LDS only: HIP_DYNAMIC_SHARED(type, name)");
#define HIP_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(moesort_host::this_lane()->workgroup->lds)
#define threadIdx (moesort_host::this_lane()->thread)
#define blockIdx (moesort_host::this_lane()->workgroup->index)
#define blockDim (moesort_host::this_lane()->workgroup->size)
#define gridDim (moesort_host::this_lane()->workgroup->count)
#define MOESORT_HOST_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

typedef __INT8_TYPE__ int8_t;
typedef __INT16_TYPE__ int16_t;
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;

#ifdef __clang__
extern const char moesort_host_compiled_by_clang;
#endif

constexpr int warpSize = MOESORT_HOST_WAVE_SIZE;

namespace moesort_host {

__attribute__((visibility("hidden"))) extern const Runtime* runtime;

// Not volatile on purpose: all reads in one function are the same, and it may be moved past calls, because a
// fiber never leaves its stack.
__forceinline__ Lane* this_lane() {
#if defined(__x86_64__)
  unsigned long stack;
  __asm__("mov %%rsp, %0" : "=r"(stack));
#else
  const unsigned long stack = reinterpret_cast<unsigned long>(__builtin_frame_address(0));
#endif
  return lane_of_stack(stack);
}

__forceinline__ const Exchange& exchange(unsigned long long value, const char* operation, const char* file,
                                         int line) {
  Lane* const lane = this_lane();
  runtime->exchange(lane, operation, file, line, value);
  return *lane->exchanged;
}

// The same type, but not one that a template argument is deduced from.
template <typename T>
struct Same {
  typedef T type;
};

template <typename T>
__forceinline__ unsigned long long to_bits(T value) {
  static_assert(sizeof(T) <= 8, "wave operations take values of at most 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return bits;
}

// A lane that does not exist (the workgroup is no multiple of the wave) gives junk, never a handy zero.
template <typename T>
__forceinline__ T from_lane(const Exchange& values, unsigned lane) {
  const unsigned long long bits = lane < values.lanes ? values.values[lane] : 0xdbdbdbdbdbdbdbdbull;
  T value;
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

#if MOESORT_HOST_CHECKED
// Not inlined, so that the return address is the place of the access.
__noinline__ void check_access(const volatile void* address, unsigned long bytes, Access access);
#endif

template <typename T>
__forceinline__ void check_atomic(T* address) {
#if MOESORT_HOST_CHECKED
  check_access(address, sizeof(T), Access::kRead);
  check_access(address, sizeof(T), Access::kWrite);
#endif
  (void)address;
}

// The functions without a hardware instruction for every type.
template <typename T, typename Operation>
__forceinline__ T atomic_update(T* address, Operation operation) {
  check_atomic(address);
  T seen;
  __atomic_load(address, &seen, __ATOMIC_RELAXED);
  for (;;) {
    T wanted = operation(seen);
    if (__atomic_compare_exchange(address, &seen, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return seen;
  }
}

}  // namespace moesort_host

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define MOESORT_HOST_VECTORS(type, name)                                                     \
  struct __attribute__((aligned(2 * sizeof(type)))) name##2 {                                \
    type x, y;                                                                               \
  };                                                                                         \
  struct name##3 {                                                                           \
    type x, y, z;                                                                            \
  };                                                                                         \
  struct __attribute__((aligned(16))) name##4 {                                              \
    type x, y, z, w;                                                                         \
  };                                                                                         \
  __forceinline__ name##2 make_##name##2(type x, type y) { return {x, y}; }                  \
  __forceinline__ name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }       \
  __forceinline__ name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
MOESORT_HOST_VECTORS(int, int)
MOESORT_HOST_VECTORS(unsigned, uint)
MOESORT_HOST_VECTORS(float, float)
#undef MOESORT_HOST_VECTORS

inline void __syncthreads(MOESORT_HOST_PLACE) {
  moesort_host::runtime->barrier("__syncthreads", file, line);
}

__forceinline__ unsigned __lane_id() { return moesort_host::this_lane()->lane; }

inline unsigned long long __ballot(int predicate, MOESORT_HOST_PLACE) {
  return moesort_host::exchange(predicate != 0, "__ballot", file, line).nonzero;
}

inline int __any(int predicate, MOESORT_HOST_PLACE) {
  return moesort_host::exchange(predicate != 0, "__any", file, line).nonzero != 0;
}

inline int __all(int predicate, MOESORT_HOST_PLACE) {
  return moesort_host::exchange(predicate == 0, "__all", file, line).nonzero == 0;
}

// `width` cuts the wave into segments of that many lanes, a power of two; no value leaves its segment.
template <typename T>
inline T __shfl(T value, int source, int width = warpSize, MOESORT_HOST_PLACE) {
  const moesort_host::Exchange& values =
      moesort_host::exchange(moesort_host::to_bits(value), "__shfl", file, line);
  const unsigned first = __lane_id() & ~(width - 1u);
  return moesort_host::from_lane<T>(values, first + (source & (width - 1u)));
}

template <typename T>
inline T __shfl_up(T value, unsigned distance, int width = warpSize, MOESORT_HOST_PLACE) {
  const moesort_host::Exchange& values =
      moesort_host::exchange(moesort_host::to_bits(value), "__shfl_up", file, line);
  const unsigned lane = __lane_id();
  return moesort_host::from_lane<T>(values, (lane & (width - 1u)) < distance ? lane : lane - distance);
}

template <typename T>
inline T __shfl_down(T value, unsigned distance, int width = warpSize, MOESORT_HOST_PLACE) {
  const moesort_host::Exchange& values =
      moesort_host::exchange(moesort_host::to_bits(value), "__shfl_down", file, line);
  const unsigned lane = __lane_id();
  const unsigned in_segment = lane & (width - 1u);
  return moesort_host::from_lane<T>(values, in_segment + distance < unsigned(width) ? lane + distance : lane);
}

template <typename T>
inline T __shfl_xor(T value, int mask, int width = warpSize, MOESORT_HOST_PLACE) {
  const moesort_host::Exchange& values =
      moesort_host::exchange(moesort_host::to_bits(value), "__shfl_xor", file, line);
  const unsigned lane = __lane_id();
  const unsigned source = lane ^ unsigned(mask);
  // Past the segment's end a lane keeps its own value; a segment before it may be read.
  return moesort_host::from_lane<T>(values, source < (lane & ~(width - 1u)) + width ? source : lane);
}

__forceinline__ int __popc(unsigned bits) { return __builtin_popcount(bits); }
__forceinline__ int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
__forceinline__ int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(bits); }
__forceinline__ int __clzll(long long bits) { return bits == 0 ? 64 : __builtin_clzll(bits); }
__forceinline__ int __ffs(int bits) { return __builtin_ffs(bits); }
__forceinline__ int __ffsll(long long bits) { return __builtin_ffsll(bits); }
__forceinline__ unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}

__forceinline__ int min(int a, int b) { return a < b ? a : b; }
__forceinline__ unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
__forceinline__ unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
__forceinline__ float min(float a, float b) { return a < b ? a : b; }
__forceinline__ int max(int a, int b) { return a > b ? a : b; }
__forceinline__ unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
__forceinline__ unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
__forceinline__ float max(float a, float b) { return a > b ? a : b; }

__forceinline__ void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
__forceinline__ void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
__forceinline__ void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Relaxed, as in HIP: barriers and fences do the ordering. All return the value before.
template <typename T>
__forceinline__ T atomicAdd(T* address, typename moesort_host::Same<T>::type value) {
  constexpr bool is_integer = T(1) / T(2) == T(0);
  if constexpr (is_integer) {
    moesort_host::check_atomic(address);
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
  } else {
    return moesort_host::atomic_update(address, [value](T seen) { return seen + value; });
  }
}
template <typename T>
__forceinline__ T atomicMax(T* address, typename moesort_host::Same<T>::type value) {
  return moesort_host::atomic_update(address, [value](T seen) { return seen < value ? value : seen; });
}
template <typename T>
__forceinline__ T atomicMin(T* address, typename moesort_host::Same<T>::type value) {
  return moesort_host::atomic_update(address, [value](T seen) { return value < seen ? value : seen; });
}
template <typename T>
__forceinline__ T atomicOr(T* address, typename moesort_host::Same<T>::type value) {
  moesort_host::check_atomic(address);
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}
template <typename T>
__forceinline__ T atomicAnd(T* address, typename moesort_host::Same<T>::type value) {
  moesort_host::check_atomic(address);
  return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);
}
template <typename T>
__forceinline__ T atomicExch(T* address, typename moesort_host::Same<T>::type value) {
  return moesort_host::atomic_update(address, [value](T) { return value; });
}
template <typename T>
__forceinline__ T atomicCAS(T* address, typename moesort_host::Same<T>::type compare,
                            typename moesort_host::Same<T>::type value) {
  moesort_host::check_atomic(address);
  __atomic_compare_exchange(address, &compare, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return compare;
}

#undef MOESORT_HOST_PLACE

namespace moesort_host {

// Specialised by DESCRIBE_LAUNCH for the parameter blocks whose launches the virtual clock can tell apart.
template <typename Parameters>
struct Describe {
  static constexpr LaunchShape (*shape)(const void*) = nullptr;
};

// Calls a kernel with arguments that lie in memory. Braces, because they alone order their elements.
struct Call {
  template <typename Kernel, typename... Arguments>
  Call(Kernel kernel, const Arguments&... arguments) {
    kernel(arguments...);
  }
};

template <auto kernel>
struct Thunk;

template <typename... Arguments, void (*kernel)(Arguments...)>
struct Thunk<kernel> {
  static void call(void* const* parameters) {
    Call{kernel, *static_cast<const Arguments*>(*parameters++)...};
    (void)parameters;
  }
  static constexpr Parameter layout[sizeof...(Arguments) + 1] = {{sizeof(Arguments), alignof(Arguments)}..., {}};

  template <typename... None>
  struct First {
    static constexpr LaunchShape (*describe)(const void*) = nullptr;
  };
  template <typename Parameters, typename... Others>
  struct First<Parameters, Others...> {
    static constexpr LaunchShape (*describe)(const void*) = Describe<Parameters>::shape;
  };

  static constexpr KernelEntry entry(const char* name) {
    return {name, &call, layout, sizeof...(Arguments), First<Arguments...>::describe};
  }
};

}  // namespace moesort_host
)HIP"
