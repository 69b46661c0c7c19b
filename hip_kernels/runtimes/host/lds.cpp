#include "lds.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "memory.h"
#include "settings.h"

namespace moesort_host {
namespace {

constexpr std::size_t kLdsAlignment = 16;  // the widest access of a kernel
constexpr std::size_t kPages = 65536;      // a multiple of every page size

}  // namespace

Lds::Lds() : capacity_(round_up(settings().lds_bytes, kPages)), written_(nullptr) {
  void* const mapping =
      mmap(nullptr, capacity_ + kLdsRedZone, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, capacity_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  if (settings().checked) written_ = new unsigned char[capacity_];
}

Lds::~Lds() {
  munmap(mapping_, capacity_ + kLdsRedZone);
  delete[] written_;
}

void* Lds::renew(std::size_t bytes) {
  char* const lds = mapping_ + (capacity_ - round_up(bytes, kLdsAlignment));
  std::memset(lds, kJunk, bytes);
  if (written_ != nullptr) std::memset(written_, 0, bytes);
  return lds;
}

}  // namespace moesort_host
