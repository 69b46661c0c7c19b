#include "api.h"
#include "handles.h"
#include "module.h"
#include "runner.h"
#include "settings.h"
#include "stream.h"

namespace moesort_host {
namespace {

hipError_t load(void** handle, const void* image) {
  if (handle == nullptr) return hipErrorInvalidValue;
  std::shared_ptr<Module> module;
  if (const hipError_t error = Module::load(image, &module)) return error;
  for (const auto& kernel : module->kernels()) handles<Kernel>().add(kernel);
  *handle = handles<Module>().add(module);
  return hipSuccess;
}

hipError_t unload(void* handle) {
  const auto module = handles<Module>().find(handle);
  if (module == nullptr) return hipErrorInvalidHandle;
  for (const auto& kernel : module->kernels()) handles<Kernel>().remove(kernel.get());
  handles<Module>().remove(handle);
  return hipSuccess;
}

hipError_t get_function(const void** function, void* handle, const char* name) {
  const auto module = handles<Module>().find(handle);
  if (module == nullptr) return hipErrorInvalidHandle;
  if (function == nullptr || name == nullptr) return hipErrorInvalidValue;
  *function = module->kernel(name).get();
  return *function == nullptr ? hipErrorNotFound : hipSuccess;
}

// The packed arguments that `extra` points at.
struct PackedArguments {
  const char* buffer = nullptr;
  std::size_t bytes = 0;
};

hipError_t unpack(void** extra, PackedArguments* arguments) {
  for (; extra != nullptr; extra += 2) {
    const auto key = reinterpret_cast<std::uintptr_t>(extra[0]);
    if (key == kLaunchParamEnd) return hipSuccess;
    if (key == kLaunchParamBufferPointer)
      arguments->buffer = static_cast<const char*>(extra[1]);
    else if (key == kLaunchParamBufferSize)
      arguments->bytes = *static_cast<const std::size_t*>(extra[1]);
    else
      return hipErrorInvalidValue;
  }
  return hipSuccess;
}

hipError_t launch(const void* function, const Index3& grid, const Index3& block, unsigned lds_bytes, void* stream,
                  void** parameters, void** extra) {
  const auto kernel = handles<Kernel>().find(function);
  if (kernel == nullptr) return hipErrorInvalidHandle;
  PackedArguments packed;
  if (const hipError_t error = unpack(extra, &packed)) return error;
  KernelLaunch operation;
  const hipError_t error = make_launch(kernel->module.lock(), *kernel->entry, grid, block, lds_bytes, parameters,
                                       packed.buffer, packed.bytes, &operation);
  return error != hipSuccess ? error : submit(stream, std::move(operation));
}

hipError_t get_attribute(int* value, hipFunction_attribute attribute, const void* function) {
  if (value == nullptr) return hipErrorInvalidValue;
  if (handles<Kernel>().find(function) == nullptr) return hipErrorInvalidHandle;
  switch (attribute) {
    case HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = kMaxLanes;
      return hipSuccess;
    case HIP_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = static_cast<int>(settings().lds_bytes);
      return hipSuccess;
    // Kernels have dynamic LDS only, and no registers to speak of.
    case HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    case HIP_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case HIP_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    case HIP_FUNC_ATTRIBUTE_NUM_REGS:
      *value = 0;
      return hipSuccess;
  }
  return hipErrorInvalidValue;
}

hipError_t set_attribute(const void* function, int attribute, int value) {
  if (handles<Kernel>().find(function) == nullptr) return hipErrorInvalidDeviceFunction;
  if (attribute != HIP_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return hipSuccess;  // a hint
  const bool fits = value >= 0 && static_cast<unsigned>(value) <= settings().lds_bytes;
  return fits ? hipSuccess : hipErrorInvalidValue;
}

}  // namespace
}  // namespace moesort_host

using namespace moesort_host;

HOST_API hipError_t hipModuleLoadData(void** module, const void* image) {
  return call("hipModuleLoadData", Needs::kDevice, [&] { return load(module, image); });
}

HOST_API hipError_t hipModuleLoadDataEx(void** module, const void* image, unsigned, void*, void**) {
  return call("hipModuleLoadDataEx", Needs::kDevice, [&] { return load(module, image); });
}

HOST_API hipError_t hipModuleUnload(void* module) {
  return call("hipModuleUnload", Needs::kNothing, [&] { return unload(module); });
}

HOST_API hipError_t hipModuleGetFunction(const void** function, void* module, const char* name) {
  return call("hipModuleGetFunction", Needs::kDevice, [&] { return get_function(function, module, name); });
}

HOST_API hipError_t hipModuleLaunchKernel(const void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                          unsigned block_x, unsigned block_y, unsigned block_z, unsigned lds_bytes,
                                          void* stream, void** parameters, void** extra) {
  return call("hipModuleLaunchKernel", Needs::kDevice, [&] {
    return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, lds_bytes, stream, parameters,
                  extra);
  });
}

HOST_API hipError_t hipFuncGetAttribute(int* value, hipFunction_attribute attribute, const void* function) {
  return call("hipFuncGetAttribute", Needs::kNothing, [&] { return get_attribute(value, attribute, function); });
}

HOST_API hipError_t hipFuncSetAttribute(const void* function, int attribute, int value) {
  return call("hipFuncSetAttribute", Needs::kDevice, [&] { return set_attribute(function, attribute, value); });
}

// A core runs one workgroup at a time.
HOST_API hipError_t hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads,
                                                                       std::size_t lds_bytes) {
  return call("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor", Needs::kNothing, [&] {
    if (blocks == nullptr || threads <= 0) return hipErrorInvalidValue;
    if (handles<Kernel>().find(function) == nullptr) return hipErrorInvalidDeviceFunction;
    const bool fits = static_cast<unsigned>(threads) <= kMaxLanes && lds_bytes <= settings().lds_bytes;
    *blocks = fits ? 1 : 0;
    return hipSuccess;
  });
}
