#include "module.h"

#include <dlfcn.h>
#include <unistd.h>

#include "image.h"
#include "launch.h"

namespace moesort_host {

hipError_t Module::load(const void* address, std::shared_ptr<Module>* module) {
  if (address == nullptr) return hipErrorInvalidValue;
  const int file = open_image(address);
  if (file < 0) return hipErrorInvalidImage;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const void* const entry = library == nullptr ? nullptr : dlsym(library, "moesort_host_module");
  if (entry == nullptr) {
    if (library != nullptr) dlclose(library);
    close(file);
    return hipErrorSharedObjectInitFailed;
  }
  const ModuleEntry& found = *static_cast<const ModuleEntry*>(entry);
  *found.runtime = &module_runtime();
  module->reset(new Module(library, file));
  for (unsigned i = 0; i < found.kernel_count; ++i)
    (*module)->kernels_.push_back(std::make_shared<Kernel>(Kernel{&found.kernels[i], *module}));
  return hipSuccess;
}

Module::~Module() {
  dlclose(library_);
  close(file_);
}

std::shared_ptr<Kernel> Module::kernel(const std::string& name) const {
  for (const auto& kernel : kernels_)
    if (name == kernel->entry->name) return kernel;
  return nullptr;
}

}  // namespace moesort_host
