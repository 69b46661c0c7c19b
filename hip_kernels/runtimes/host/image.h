// The code that hiprtc gives and hipModuleLoadData takes: a shared object, followed by a trailer that says what
// built it. Foreign, outdated, damaged or cut-off code is refused by it before anything of the code runs.
#pragma once
#include <cstdint>
#include <string>

namespace moesort_host {

// What a module was compiled for.
struct BuildKey {
  std::uint64_t abi;  // hash of abi.h and the built-ins
  std::uint32_t wave_size;
  std::uint32_t checked;
};

// What this process compiles and can load.
BuildKey build_key();

// Appends the trailer to a shared object's bytes.
void seal_image(std::string* shared_object);

// Copies the image at `address`, which may be anything, into a file in memory. Returns its descriptor, or -1 when
// the bytes are not an image that this process can load.
int open_image(const void* address);

}  // namespace moesort_host
