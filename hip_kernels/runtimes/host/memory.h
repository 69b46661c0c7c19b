// The device's memory: every allocation is known by its range, so that a wrong pointer is an error, not a crash.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "hip_types.h"

namespace moesort_host {

constexpr int kJunk = 0xdb;  // nothing may rely on memory or LDS being zero

inline std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

enum class MemoryKind { kDevice, kPinnedHost, kRegisteredHost };

struct Allocation {
  char* base;
  std::size_t bytes;
  MemoryKind kind;
  unsigned flags;
  char* mapping;  // what to give back, red zones included; null for registered memory
  std::size_t mapping_bytes;
  unsigned char* written;  // in checking mode of device memory: 1 for every byte that was written, else null
};

// Not thread-safe: calls are serialised by api.h.
class Memory {
 public:
  // Filled with junk. Zero bytes give a null pointer.
  hipError_t allocate(std::size_t bytes, MemoryKind kind, unsigned flags, void** pointer);
  hipError_t release(void* pointer, bool device);
  hipError_t register_host(void* pointer, std::size_t bytes, unsigned flags);
  hipError_t unregister_host(void* pointer);

  // The allocation that holds the byte at `pointer`, or null.
  const Allocation* find(const void* pointer) const;

  // Whether all of [pointer, pointer + bytes) is in one allocation.
  bool holds(const void* pointer, std::size_t bytes) const;

  // Memory of the device that was not released: how many allocations, and their bytes.
  std::size_t device_allocations() const;
  std::size_t device_bytes() const;

  // In checking mode: notes what the host's calls write and copy.
  void mark_written(const void* pointer, std::size_t bytes);
  void mark_copied(const void* target, const void* source, std::size_t bytes);

  // "address 0x7f..., 16 bytes behind an allocation of 4096 bytes"
  std::string describe(const void* pointer) const;

 private:
  std::map<std::uintptr_t, Allocation> allocations_;  // by base
  std::deque<Allocation> freed_;  // in checking mode: kept out of use for a while, to tell of late accesses

  const Allocation* find_freed(const void* pointer) const;
  void retire(const Allocation& allocation);
};

Memory& memory();
std::size_t total_memory_bytes();
std::size_t free_memory_bytes();

}  // namespace moesort_host
