// The work that streams and graphs carry.
#pragma once
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "abi.h"
#include "hip_types.h"
#include "module.h"

namespace moesort_host {

// A kernel's arguments, copied. Not copyable itself: the pointers lead into the storage.
struct Arguments {
  Arguments() = default;
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  std::vector<std::uint64_t> storage;
  std::vector<void*> pointers;
};

struct KernelLaunch {
  std::shared_ptr<const Module> module;  // a graph may outlive the caller's handle
  const KernelEntry* kernel;
  Index3 grid;
  Index3 block;
  unsigned lds_bytes;
  std::shared_ptr<const Arguments> arguments;

  hipError_t run() const;
  LaunchShape shape() const;
};

struct Fill {
  void* target;
  std::uint32_t value;
  unsigned element_bytes;  // 1, 2 or 4
  std::size_t count;

  hipError_t run() const;
};

struct Copy {
  void* target;
  const void* source;
  std::size_t bytes;

  hipError_t run() const;
};

using Operation = std::variant<KernelLaunch, Fill, Copy>;

hipError_t run(const Operation& operation);

// The virtual microseconds that the operation takes. Only kernels take any.
double virtual_us(const Operation& operation);

// Checks a launch and copies its arguments from `parameters`, or from the packed `buffer` when that is null.
hipError_t make_launch(std::shared_ptr<const Module> module, const KernelEntry& kernel, Index3 grid, Index3 block,
                       unsigned lds_bytes, void* const* parameters, const char* buffer, std::size_t buffer_bytes,
                       KernelLaunch* launch);

}  // namespace moesort_host
