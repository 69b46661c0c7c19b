#include "module.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>

#include "image.h"
#include "launch.h"

namespace moesort_host {
namespace {

// What dl_iterate_phdr looks for, and finds.
struct Mapping {
  ElfW(Addr) base;
  Range range;
};

int find_mapping(dl_phdr_info* library, std::size_t, void* data) {
  Mapping& mapping = *static_cast<Mapping*>(data);
  if (library->dlpi_addr != mapping.base) return 0;
  std::size_t end = 0;
  for (int i = 0; i < library->dlpi_phnum; ++i)
    if (library->dlpi_phdr[i].p_type == PT_LOAD)
      end = std::max(end, static_cast<std::size_t>(library->dlpi_phdr[i].p_vaddr + library->dlpi_phdr[i].p_memsz));
  mapping.range = {reinterpret_cast<const char*>(mapping.base), end};
  return 1;
}

Range mapped_range(void* library) {
  link_map* map = nullptr;
  Mapping mapping = {};
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return {};
  mapping.base = map->l_addr;
  dl_iterate_phdr(&find_mapping, &mapping);
  return mapping.range;
}

}  // namespace

hipError_t Module::load(const void* address, std::shared_ptr<Module>* module) {
  if (address == nullptr) return hipErrorInvalidValue;
  const int file = open_image(address);
  if (file < 0) return hipErrorInvalidImage;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const void* const symbol = library == nullptr ? nullptr : dlsym(library, "moesort_host_module");
  const ModuleEntry* const entry = static_cast<const ModuleEntry*>(symbol);
  // A module whose path is that of one which could not be unloaded would be that one, already bound.
  if (entry == nullptr || *entry->runtime != nullptr) {
    if (library != nullptr) dlclose(library);
    close(file);
    return hipErrorSharedObjectInitFailed;
  }
  *entry->runtime = &module_runtime();
  module->reset(new Module(library, file));
  for (unsigned i = 0; i < entry->kernel_count; ++i)
    (*module)->kernels_.push_back(std::make_shared<Kernel>(Kernel{&entry->kernels[i], *module}));
  return hipSuccess;
}

Module::Module(void* library, int file) : library_(library), file_(file), code_(mapped_range(library)) {}

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
