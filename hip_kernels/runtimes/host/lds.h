// The LDS of the workgroup that a core runs. It ends at memory that traps, so that a kernel which asked for too little
// is found out also without checking mode.
#pragma once
#include <cstddef>

namespace moesort_host {

constexpr std::size_t kLdsRedZone = 1 << 20;

class Lds {
 public:
  Lds();
  ~Lds();
  Lds(const Lds&) = delete;
  Lds& operator=(const Lds&) = delete;

  // LDS of `bytes` for the next workgroup, full of junk.
  void* renew(std::size_t bytes);

  // In checking mode: 1 for every byte that was written since.
  unsigned char* written() const { return written_; }

 private:
  char* mapping_;
  std::size_t capacity_;
  unsigned char* written_;
};

}  // namespace moesort_host
