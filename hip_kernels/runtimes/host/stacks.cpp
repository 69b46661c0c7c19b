#include "stacks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

namespace moesort_host {
namespace {

constexpr std::size_t kMappingBytes = (kMaxLanes + 1) * kStackBytes;

char* map_stacks() {
  void* const memory = mmap(nullptr, kMappingBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<char*>(memory);
}

}  // namespace

Stacks::Stacks() : mapping_(map_stacks()) {
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(mapping_);
  base_ = reinterpret_cast<char*>((first + kStackBytes - 1) & ~std::uintptr_t{kStackBytes - 1});
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  trap_bytes_ = page <= kStackBytes / 4 ? page : 0;
}

Stacks::~Stacks() { munmap(mapping_, kMappingBytes); }

void Stacks::grow(unsigned count) {
  for (; usable_ < count; ++usable_) {
    // A failure (too many mappings) only costs the clear message: the stacks below are memory too.
    if (trap_bytes_ != 0) mprotect(base_ + usable_ * kStackBytes, trap_bytes_, PROT_NONE);
  }
}

bool Stacks::in_trap(const void* address, unsigned* index) const {
  if (!contains(address)) return false;
  const std::size_t offset = static_cast<std::size_t>(static_cast<const char*>(address) - base_);
  *index = static_cast<unsigned>(offset / kStackBytes);
  return offset % kStackBytes < trap_bytes_;
}

}  // namespace moesort_host
