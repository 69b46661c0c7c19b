R"HIP(
// Under -fsanitize=kernel-address every access becomes one of these calls, which hand its place on to the runtime.
#if MOESORT_HOST_CHECKED
#define MOESORT_HOST_UNCHECKED __attribute__((visibility("hidden"), noinline, no_sanitize("kernel-address")))
#define MOESORT_HOST_CHECK(name, bytes, access)                                                              \
  MOESORT_HOST_UNCHECKED void name(void* address) {                                                          \
    moesort_host::runtime->check(address, bytes, moesort_host::Access::access, __builtin_return_address(0)); \
  }
#define MOESORT_HOST_CHECK_RANGE(name, access)                                                               \
  MOESORT_HOST_UNCHECKED void name(void* address, unsigned long bytes) {                                     \
    moesort_host::runtime->check(address, bytes, moesort_host::Access::access, __builtin_return_address(0)); \
  }

namespace moesort_host {
MOESORT_HOST_UNCHECKED void check_access(const volatile void* address, unsigned long bytes, Access access) {
  runtime->check(const_cast<const void*>(address), bytes, access, __builtin_return_address(0));
}
}  // namespace moesort_host

extern "C" {
MOESORT_HOST_CHECK(__asan_load1_noabort, 1, kRead)
MOESORT_HOST_CHECK(__asan_load2_noabort, 2, kRead)
MOESORT_HOST_CHECK(__asan_load4_noabort, 4, kRead)
MOESORT_HOST_CHECK(__asan_load8_noabort, 8, kRead)
MOESORT_HOST_CHECK(__asan_load16_noabort, 16, kRead)
MOESORT_HOST_CHECK(__asan_store1_noabort, 1, kWrite)
MOESORT_HOST_CHECK(__asan_store2_noabort, 2, kWrite)
MOESORT_HOST_CHECK(__asan_store4_noabort, 4, kWrite)
MOESORT_HOST_CHECK(__asan_store8_noabort, 8, kWrite)
MOESORT_HOST_CHECK(__asan_store16_noabort, 16, kWrite)
MOESORT_HOST_CHECK_RANGE(__asan_loadN_noabort, kRead)
MOESORT_HOST_CHECK_RANGE(__asan_storeN_noabort, kWrite)

// Compilers make calls of these out of loops and copies, and leave checking to the functions.
MOESORT_HOST_UNCHECKED void* memset(void* target, int value, size_t bytes) {
  using namespace moesort_host;
  if (bytes != 0) runtime->check(target, bytes, Access::kWrite, __builtin_return_address(0));
  return runtime->fill(target, value, bytes);
}
MOESORT_HOST_UNCHECKED void* memmove(void* target, const void* source, size_t bytes) {
  using namespace moesort_host;
  if (bytes != 0) {
    runtime->check(source, bytes, Access::kRead, __builtin_return_address(0));
    runtime->check(target, bytes, Access::kWrite, __builtin_return_address(0));
  }
  return runtime->move(target, source, bytes);
}
MOESORT_HOST_UNCHECKED void* memcpy(void* target, const void* source, size_t bytes) {
  using namespace moesort_host;
  if (bytes != 0) {
    runtime->check(source, bytes, Access::kRead, __builtin_return_address(0));
    runtime->check(target, bytes, Access::kWrite, __builtin_return_address(0));
  }
  return runtime->move(target, source, bytes);
}
}
#undef MOESORT_HOST_UNCHECKED
#undef MOESORT_HOST_CHECK
#undef MOESORT_HOST_CHECK_RANGE
#endif
)HIP"
