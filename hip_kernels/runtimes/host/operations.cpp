#include "operations.h"

#include <cstring>

#include "clock.h"
#include "launch.h"
#include "launch_log.h"
#include "memory.h"
#include "settings.h"

namespace moesort_host {
namespace {

constexpr std::size_t kStorageAlignment = 16;  // what the allocator of `storage` gives

bool valid(const Index3& grid, const Index3& block) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  const std::uint64_t plane = std::uint64_t{grid.x} * grid.y;
  return block.x <= kMaxLanes && block.y <= kMaxLanes && block.z <= kMaxLanes && threads >= 1 && threads <= kMaxLanes &&
         plane >= 1 && grid.z >= 1 && grid.x <= INT32_MAX && grid.y <= 65535 && grid.z <= 65535;
}

std::size_t aligned(std::size_t offset, std::size_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

std::size_t packed_bytes(const KernelEntry& kernel) {
  std::size_t bytes = 0;
  for (unsigned i = 0; i < kernel.parameter_count; ++i)
    bytes = aligned(bytes, kernel.parameters[i].alignment) + kernel.parameters[i].bytes;
  return bytes;
}

template <typename Item>
Range as_range(const std::vector<Item>& items) {
  return {reinterpret_cast<const char*>(items.data()), items.size() * sizeof(Item)};
}

std::uint64_t next_launch_seed() {
  static std::uint64_t launches = 0;
  return Random(settings().seed + launches++).next();
}

}  // namespace

hipError_t make_launch(std::shared_ptr<const Module> module, const KernelEntry& kernel, Index3 grid, Index3 block,
                       unsigned lds_bytes, void* const* parameters, const char* buffer, std::size_t buffer_bytes,
                       KernelLaunch* launch) {
  if (!valid(grid, block)) return hipErrorInvalidConfiguration;
  if (lds_bytes > settings().lds_bytes) return hipErrorInvalidValue;
  const std::size_t bytes = packed_bytes(kernel);
  if (parameters == nullptr && bytes > buffer_bytes) return hipErrorInvalidValue;
  auto arguments = std::make_shared<Arguments>();
  arguments->storage.resize((bytes + 7) / 8);
  char* const storage = reinterpret_cast<char*>(arguments->storage.data());
  std::size_t offset = 0;
  for (unsigned i = 0; i < kernel.parameter_count; ++i) {
    const Parameter& parameter = kernel.parameters[i];
    if (parameter.alignment > kStorageAlignment) return hipErrorInvalidDeviceFunction;
    offset = aligned(offset, parameter.alignment);
    const void* const source = parameters != nullptr ? parameters[i] : buffer + offset;
    if (source == nullptr) return hipErrorInvalidValue;
    std::memcpy(storage + offset, source, parameter.bytes);
    arguments->pointers.push_back(storage + offset);
    offset += parameter.bytes;
  }
  *launch = {std::move(module), &kernel, grid, block, lds_bytes, std::move(arguments)};
  return hipSuccess;
}

hipError_t KernelLaunch::run() const {
  Launch launch;
  launch.kernel = kernel;
  launch.grid = grid;
  launch.block = block;
  launch.lds_bytes = lds_bytes;
  launch.wave_size = settings().wave_size;
  launch.parameters = arguments->pointers.data();
  launch.internal = {{as_range(arguments->storage), as_range(arguments->pointers), module->code()}};
  launch.shuffled = settings().shuffled;
  launch.seed = launch.shuffled ? next_launch_seed() : 0;
  log_launch(*this);
  run_workgroups(launch);
  return launch.failed ? hipErrorLaunchFailure : hipSuccess;
}

LaunchShape KernelLaunch::shape() const {
  return kernel->describe == nullptr ? LaunchShape{} : kernel->describe(arguments->pointers[0]);
}

hipError_t Fill::run() const {
  memory().mark_written(target, count * element_bytes);
  if (element_bytes == 1) {
    std::memset(target, static_cast<int>(value), count);
    return hipSuccess;
  }
  char* byte = static_cast<char*>(target);
  for (std::size_t i = 0; i < count; ++i, byte += element_bytes) std::memcpy(byte, &value, element_bytes);
  return hipSuccess;
}

hipError_t Copy::run() const {
  memory().mark_copied(target, source, bytes);
  std::memmove(target, source, bytes);
  return hipSuccess;
}

hipError_t run(const Operation& operation) {
  return std::visit([](const auto& work) { return work.run(); }, operation);
}

double virtual_us(const Operation& operation) {
  const KernelLaunch* const launch = std::get_if<KernelLaunch>(&operation);
  return launch == nullptr ? 0 : clock().launch_us(launch->kernel->name, launch->shape());
}

}  // namespace moesort_host
