// Loaded code and its kernels.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "abi.h"
#include "hip_types.h"
#include "runner.h"

namespace moesort_host {

class Module;

struct Kernel {
  const KernelEntry* entry;
  std::weak_ptr<const Module> module;
};

class Module {
 public:
  // The image as hiprtc gave it; `address` is not trusted.
  static hipError_t load(const void* address, std::shared_ptr<Module>* module);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  const std::vector<std::shared_ptr<Kernel>>& kernels() const { return kernels_; }

  // Where its code and globals lie.
  const Range& code() const { return code_; }

  // Null if there is none of that name.
  std::shared_ptr<Kernel> kernel(const std::string& name) const;

 private:
  Module(void* library, int file);

  void* library_;
  int file_;  // stays open: a debugger and addr2line find the code by it
  Range code_{};
  std::vector<std::shared_ptr<Kernel>> kernels_;
};

}  // namespace moesort_host
