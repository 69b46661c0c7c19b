// The device's memory: every allocation is known by its range, so that a wrong pointer is an error, not a crash.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>

#include "hip_types.h"

namespace moesort_host {

enum class MemoryKind { kDevice, kPinnedHost, kRegisteredHost };

struct Allocation {
  char* base;
  std::size_t bytes;
  MemoryKind kind;
  unsigned flags;
  char* mapping;  // what to give back, red zones included; null for registered memory
  std::size_t mapping_bytes;
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

  std::size_t bytes_in_use() const { return bytes_in_use_; }

 private:
  std::map<std::uintptr_t, Allocation> allocations_;  // by base
  std::size_t bytes_in_use_ = 0;
};

Memory& memory();
std::size_t total_memory_bytes();
std::size_t free_memory_bytes();

}  // namespace moesort_host
