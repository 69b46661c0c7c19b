R"HIP(
// The calls that a compiler makes for every access under -fsanitize=kernel-address. They hand the place on.
#if MOESORT_HOST_CHECKED
namespace moesort_host {
__attribute__((no_sanitize("kernel-address"))) void check_access(const volatile void* address, unsigned long bytes,
                                                                 Access access) {
  runtime->check(const_cast<const void*>(address), bytes, access, __builtin_return_address(0));
}
}  // namespace moesort_host
#define MOESORT_HOST_CHECK(name, bytes, access)                                                        \
  __attribute__((visibility("hidden"), noinline, no_sanitize("kernel-address"))) void name(void* address) { \
    moesort_host::runtime->check(address, bytes, moesort_host::Access::access, __builtin_return_address(0)); \
  }
#define MOESORT_HOST_CHECK_RANGE(name, access)                                                         \
  __attribute__((visibility("hidden"), noinline, no_sanitize("kernel-address"))) void name(              \
      void* address, unsigned long bytes) {                                                              \
    moesort_host::runtime->check(address, bytes, moesort_host::Access::access, __builtin_return_address(0)); \
  }
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
}
#undef MOESORT_HOST_CHECK
#undef MOESORT_HOST_CHECK_RANGE
#endif
)HIP"
