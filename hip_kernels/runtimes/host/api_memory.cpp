#include "api.h"
#include "memory.h"
#include "stream.h"

namespace moesort_host {
namespace {

constexpr std::size_t kWord = 4;

hipError_t allocate(void** pointer, std::size_t bytes, MemoryKind kind, unsigned flags) {
  if (pointer == nullptr) return hipErrorInvalidValue;
  if (const hipError_t error = refuse_if_unsafe()) return error;
  return memory().allocate(bytes, kind, flags, pointer);
}

hipError_t release(void* pointer, bool device) {
  if (const hipError_t error = refuse_if_unsafe()) return error;
  return memory().release(pointer, device);
}

// A side of a copy that the caller says is the device's, or that is in an allocation, must be inside it.
bool side_fits(const void* side, std::size_t bytes, bool device) {
  if (side == nullptr) return false;
  if (device || memory().find(side) != nullptr) return memory().holds(side, bytes);
  return true;
}

hipError_t make_copy(void* target, const void* source, std::size_t bytes, hipMemcpyKind kind, Copy* copy) {
  if (kind < hipMemcpyHostToHost || kind > hipMemcpyDefault) return hipErrorInvalidMemcpyDirection;
  const bool to_device = kind == hipMemcpyHostToDevice || kind == hipMemcpyDeviceToDevice;
  const bool from_device = kind == hipMemcpyDeviceToHost || kind == hipMemcpyDeviceToDevice;
  if (!side_fits(target, bytes, to_device) || !side_fits(source, bytes, from_device)) return hipErrorInvalidValue;
  *copy = {target, source, bytes};
  return hipSuccess;
}

hipError_t copy_on(const void* stream, void* target, const void* source, std::size_t bytes, hipMemcpyKind kind) {
  if (bytes == 0) return hipSuccess;
  Copy copy;
  if (const hipError_t error = make_copy(target, source, bytes, kind, &copy)) return error;
  return submit(stream, copy);
}

hipError_t fill_on(const void* stream, void* target, std::uint32_t value, unsigned element_bytes, std::size_t count) {
  if (count == 0) return hipSuccess;
  if (count > SIZE_MAX / element_bytes || !memory().holds(target, count * element_bytes)) return hipErrorInvalidValue;
  return submit(stream, Fill{target, value, element_bytes, count});
}

// The calls that wait: a capture cannot hold them.
template <typename Work>
hipError_t at_once(Work work) {
  if (const hipError_t error = refuse_if_unsafe()) return error;
  return work();
}

hipMemoryType type_of(MemoryKind kind) { return kind == MemoryKind::kDevice ? hipMemoryTypeDevice : hipMemoryTypeHost; }

}  // namespace
}  // namespace moesort_host

using namespace moesort_host;

HOST_API hipError_t hipMalloc(void** pointer, std::size_t bytes) {
  return call("hipMalloc", Needs::kDevice, [&] { return allocate(pointer, bytes, MemoryKind::kDevice, 0); });
}

HOST_API hipError_t hipFree(void* pointer) {
  return call("hipFree", Needs::kNothing, [&] { return release(pointer, true); });
}

HOST_API hipError_t hipHostMalloc(void** pointer, std::size_t bytes, unsigned flags) {
  return call("hipHostMalloc", Needs::kDevice,
              [&] { return allocate(pointer, bytes, MemoryKind::kPinnedHost, flags); });
}

HOST_API hipError_t hipHostFree(void* pointer) {
  return call("hipHostFree", Needs::kNothing, [&] { return release(pointer, false); });
}

HOST_API hipError_t hipHostRegister(void* pointer, std::size_t bytes, unsigned flags) {
  return call("hipHostRegister", Needs::kDevice, [&] { return memory().register_host(pointer, bytes, flags); });
}

HOST_API hipError_t hipHostUnregister(void* pointer) {
  return call("hipHostUnregister", Needs::kNothing, [&] { return memory().unregister_host(pointer); });
}

HOST_API hipError_t hipMemcpy(void* target, const void* source, std::size_t bytes, hipMemcpyKind kind) {
  return call("hipMemcpy", Needs::kDevice,
              [&] { return at_once([&] { return copy_on(nullptr, target, source, bytes, kind); }); });
}

HOST_API hipError_t hipMemcpyAsync(void* target, const void* source, std::size_t bytes, hipMemcpyKind kind,
                                   void* stream) {
  return call("hipMemcpyAsync", Needs::kDevice, [&] { return copy_on(stream, target, source, bytes, kind); });
}

HOST_API hipError_t hipMemset(void* target, int value, std::size_t bytes) {
  return call("hipMemset", Needs::kDevice, [&] {
    return at_once([&] { return fill_on(nullptr, target, static_cast<unsigned char>(value), 1, bytes); });
  });
}

HOST_API hipError_t hipMemsetAsync(void* target, int value, std::size_t bytes, void* stream) {
  return call("hipMemsetAsync", Needs::kDevice,
              [&] { return fill_on(stream, target, static_cast<unsigned char>(value), 1, bytes); });
}

HOST_API hipError_t hipMemsetD32(void* target, int value, std::size_t count) {
  return call("hipMemsetD32", Needs::kDevice, [&] {
    return at_once([&] { return fill_on(nullptr, target, static_cast<std::uint32_t>(value), kWord, count); });
  });
}

HOST_API hipError_t hipMemsetD32Async(void* target, int value, std::size_t count, void* stream) {
  return call("hipMemsetD32Async", Needs::kDevice,
              [&] { return fill_on(stream, target, static_cast<std::uint32_t>(value), kWord, count); });
}

HOST_API hipError_t hipPointerGetAttributes(hipPointerAttribute_t* attributes, const void* pointer) {
  return call("hipPointerGetAttributes", Needs::kNothing, [&] {
    if (attributes == nullptr || pointer == nullptr) return hipErrorInvalidValue;
    const Allocation* const allocation = memory().find(pointer);
    if (allocation == nullptr) {
      *attributes = {hipMemoryTypeUnregistered, -1, nullptr, nullptr, 0, 0};
      return hipErrorInvalidValue;
    }
    void* const writable = const_cast<void*>(pointer);
    const bool host = allocation->kind != MemoryKind::kDevice;
    *attributes = {type_of(allocation->kind), 0, writable, host ? writable : nullptr, 0, allocation->flags};
    return hipSuccess;
  });
}
