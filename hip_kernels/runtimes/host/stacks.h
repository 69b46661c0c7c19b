// The stacks of one core's fibers: mapped once, kept, each with a page below it that traps when it overflows.
#pragma once
#include <cstddef>

#include "abi.h"

namespace moesort_host {

constexpr unsigned kMaxLanes = 1024;  // threads of the largest workgroup

class Stacks {
 public:
  Stacks();
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  // Makes the first `count` stacks usable.
  void grow(unsigned count);

  Lane* lane(unsigned index) const {
    return lane_of_stack(reinterpret_cast<unsigned long>(base_) + index * kStackBytes);
  }

  // The part for frames: below the lane, above the trap.
  char* bottom(unsigned index) const { return base_ + index * kStackBytes + trap_bytes_; }
  std::size_t bytes(unsigned index) const {
    return static_cast<std::size_t>(reinterpret_cast<char*>(lane(index)) - bottom(index));
  }

  // Whether the address is in the trap below one of the stacks; `index` gets whose.
  bool in_trap(const void* address, unsigned* index) const;

  bool contains(const void* address) const {
    const char* const byte = static_cast<const char*>(address);
    return byte >= base_ && byte < base_ + kMaxLanes * kStackBytes;
  }

 private:
  char* mapping_;
  char* base_;
  std::size_t trap_bytes_;
  unsigned usable_ = 0;
};

}  // namespace moesort_host
