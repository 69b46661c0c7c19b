#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iterator>

#include "settings.h"

namespace moesort_host {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSurelyFree = 16 << 20;  // not worth asking the system for
constexpr std::size_t kRedZone = kPage;        // on both sides; it traps, so that a wild access does not go unseen
constexpr std::size_t kAlignment = 256;        // of a pointer, as HIP promises

constexpr std::size_t kNear = 1 << 20;   // bytes from an allocation that a wrong address is told relative to it
constexpr std::size_t kMaxFreed = 4096;  // allocations of which checking mode remembers that they were freed

std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

bool contains(const Allocation& allocation, const void* pointer) {
  return address(pointer) - address(allocation.base) < allocation.bytes;
}

// Untouched pages of it cost nothing.
unsigned char* map_zeros(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<unsigned char*>(memory);
}

std::string bytes_text(std::size_t bytes) { return bytes == 1 ? "1 byte" : std::to_string(bytes) + " bytes"; }

}  // namespace

hipError_t Memory::allocate(std::size_t bytes, MemoryKind kind, unsigned flags, void** pointer) {
  *pointer = nullptr;
  if (bytes == 0) return hipSuccess;
  // The operating system promises more than it has, and filling that would end the process.
  if (bytes > kSurelyFree && bytes > free_memory_bytes()) return hipErrorOutOfMemory;
  const std::size_t body = round_up(bytes, kPage);
  const std::size_t mapping_bytes = body + 2 * kRedZone;
  void* const mapping = mmap(nullptr, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return hipErrorOutOfMemory;
  char* const begin = static_cast<char*>(mapping) + kRedZone;
  if (mprotect(begin, body, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, mapping_bytes);
    return hipErrorOutOfMemory;
  }
  std::memset(begin, kJunk, body);
  // Against the upper red zone, so that an access behind the end is close to trapping.
  char* const base = begin + (body - round_up(bytes, kAlignment));
  const bool tracked = settings().checked && kind == MemoryKind::kDevice;
  allocations_[address(base)] = {
      base, bytes, kind, flags, static_cast<char*>(mapping), mapping_bytes, tracked ? map_zeros(bytes) : nullptr};
  *pointer = base;
  return hipSuccess;
}

hipError_t Memory::release(void* pointer, bool device) {
  if (pointer == nullptr) return hipSuccess;
  const auto found = allocations_.find(address(pointer));
  if (found == allocations_.end()) return hipErrorInvalidValue;
  const Allocation allocation = found->second;
  if (allocation.kind != (device ? MemoryKind::kDevice : MemoryKind::kPinnedHost)) return hipErrorInvalidValue;
  allocations_.erase(found);
  retire(allocation);
  return hipSuccess;
}

void Memory::retire(const Allocation& allocation) {
  if (allocation.written != nullptr) munmap(allocation.written, allocation.bytes);
  if (!settings().checked) {
    munmap(allocation.mapping, allocation.mapping_bytes);
    return;
  }
  // The addresses stay taken and trap; the memory is given back.
  mmap(allocation.mapping, allocation.mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  freed_.push_back(allocation);
  if (freed_.size() <= kMaxFreed) return;
  munmap(freed_.front().mapping, freed_.front().mapping_bytes);
  freed_.pop_front();
}

hipError_t Memory::register_host(void* pointer, std::size_t bytes, unsigned flags) {
  if (pointer == nullptr || bytes == 0) return hipErrorInvalidValue;
  if (find(pointer) != nullptr) return hipErrorHostMemoryAlreadyRegistered;
  allocations_[address(pointer)] = {
      static_cast<char*>(pointer), bytes, MemoryKind::kRegisteredHost, flags, nullptr, 0, nullptr};
  return hipSuccess;
}

hipError_t Memory::unregister_host(void* pointer) {
  const auto found = allocations_.find(address(pointer));
  if (found == allocations_.end() || found->second.kind != MemoryKind::kRegisteredHost)
    return hipErrorHostMemoryNotRegistered;
  allocations_.erase(found);
  return hipSuccess;
}

const Allocation* Memory::find(const void* pointer) const {
  auto next = allocations_.upper_bound(address(pointer));
  if (next == allocations_.begin()) return nullptr;
  const Allocation& candidate = (--next)->second;
  return contains(candidate, pointer) ? &candidate : nullptr;
}

const Allocation* Memory::find_freed(const void* pointer) const {
  for (const Allocation& allocation : freed_)
    if (contains(allocation, pointer)) return &allocation;
  return nullptr;
}

bool Memory::holds(const void* pointer, std::size_t bytes) const {
  if (bytes == 0) return true;
  const Allocation* const allocation = find(pointer);
  if (allocation == nullptr) return false;
  const std::size_t offset = address(pointer) - address(allocation->base);
  return bytes <= allocation->bytes - offset;
}

std::size_t Memory::device_allocations() const {
  std::size_t count = 0;
  for (const auto& [_, allocation] : allocations_) count += allocation.kind == MemoryKind::kDevice;
  return count;
}

std::size_t Memory::device_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [_, allocation] : allocations_)
    if (allocation.kind == MemoryKind::kDevice) bytes += allocation.bytes;
  return bytes;
}

void Memory::mark_written(const void* pointer, std::size_t bytes) {
  const Allocation* const target = find(pointer);
  if (target == nullptr || target->written == nullptr) return;
  std::memset(target->written + (address(pointer) - address(target->base)), 1, bytes);
}

void Memory::mark_copied(const void* target, const void* source, std::size_t bytes) {
  const Allocation* const to = find(target);
  const Allocation* const from = find(source);
  if (from == nullptr || from->written == nullptr) return mark_written(target, bytes);
  if (to == nullptr || to->written == nullptr) return;
  std::memmove(to->written + (address(target) - address(to->base)),
               from->written + (address(source) - address(from->base)), bytes);
}

std::string Memory::describe(const void* pointer) const {
  char number[32];
  std::snprintf(number, sizeof number, "address %p", pointer);
  const std::string text = number;
  if (const Allocation* const freed = find_freed(pointer))
    return text + ", in an allocation of " + bytes_text(freed->bytes) + " that was freed";
  const auto above = allocations_.upper_bound(address(pointer));
  if (above != allocations_.begin()) {
    const Allocation& below = std::prev(above)->second;
    const std::size_t distance = address(pointer) - address(below.base) - below.bytes;
    const std::string where = distance == 0 ? "right behind" : bytes_text(distance) + " behind";
    if (distance < kNear) return text + ", " + where + " an allocation of " + bytes_text(below.bytes);
  }
  if (above != allocations_.end() && above->first - address(pointer) <= kNear)
    return text + ", " + bytes_text(above->first - address(pointer)) + " before an allocation of " +
           bytes_text(above->second.bytes);
  return text + ", in no allocation";
}

Memory& memory() {
  static Memory& instance = *new Memory;
  return instance;
}

std::size_t total_memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::size_t free_memory_bytes() {
  // Free pages leave out the page cache, which the system would give up.
  unsigned long long kibibytes = 0;
  if (FILE* const file = std::fopen("/proc/meminfo", "re")) {
    char line[128];
    while (std::fgets(line, sizeof line, file) != nullptr)
      if (std::sscanf(line, "MemAvailable: %llu", &kibibytes) == 1) break;
    std::fclose(file);
  }
  if (kibibytes != 0) return static_cast<std::size_t>(kibibytes) * 1024;
  return static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace moesort_host
