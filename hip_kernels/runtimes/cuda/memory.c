// Memory. Addresses are the same for host and device under CUDA's unified addressing, so one copy serves every
// direction and hipMemcpyKind is not needed.
#include "context.h"

EXPORT hipError_t hipMalloc(void** pointer, size_t bytes) {
  *pointer = NULL;
  if (bytes == 0) return hipSuccess;  // as HIP has it; CUDA calls it an error
  return FORWARD(cuMemAlloc, (CUdeviceptr*)pointer, bytes);
}

EXPORT hipError_t hipFree(void* pointer) {
  if (pointer == NULL) return hipSuccess;
  return FORWARD(cuMemFree, address(pointer));
}

EXPORT hipError_t hipMallocAsync(void** pointer, size_t bytes, hipStream_t stream) {
  *pointer = NULL;
  if (bytes == 0) return hipSuccess;
  return FORWARD(cuMemAllocAsync, (CUdeviceptr*)pointer, bytes, stream);
}

EXPORT hipError_t hipFreeAsync(void* pointer, hipStream_t stream) {
  if (pointer == NULL) return hipSuccess;
  return FORWARD(cuMemFreeAsync, address(pointer), stream);
}

EXPORT hipError_t hipHostMalloc(void** pointer, size_t bytes, unsigned flags) {
  *pointer = NULL;
  if (bytes == 0) return hipSuccess;
  // HIP's default is portable and mapped; its coherence and NUMA flags mean nothing to CUDA.
  const unsigned cuda_flags =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | (flags & CU_MEMHOSTALLOC_WRITECOMBINED);
  return FORWARD(cuMemHostAlloc, pointer, bytes, cuda_flags);
}

EXPORT hipError_t hipHostFree(void* pointer) {
  if (pointer == NULL) return hipSuccess;
  return FORWARD(cuMemFreeHost, pointer);
}

EXPORT hipError_t hipHostGetDevicePointer(void** pointer, void* host, unsigned flags) {
  return FORWARD(cuMemHostGetDevicePointer, (CUdeviceptr*)pointer, host, flags);
}

EXPORT hipError_t hipMemGetInfo(size_t* free, size_t* total) { return FORWARD(cuMemGetInfo, free, total); }

// Memory that the driver does not know is unregistered host memory, as in HIP since 6.0.
EXPORT hipError_t hipPointerGetAttributes(hipPointerAttribute_t* attributes, const void* pointer) {
  static const hipMemoryType kTypes[] = {
      [CU_MEMORYTYPE_HOST] = hipMemoryTypeHost,
      [CU_MEMORYTYPE_DEVICE] = hipMemoryTypeDevice,
      [CU_MEMORYTYPE_ARRAY] = hipMemoryTypeArray,
  };
  *attributes = (hipPointerAttribute_t){.type = hipMemoryTypeUnregistered, .device = -1};
  if (!context_is_current()) return latest_failure();
  unsigned type = 0;
  const CUdeviceptr at = address(pointer);
  if (cuda.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at) != CUDA_SUCCESS) return hipSuccess;
  attributes->type = kTypes[type];
  unsigned is_managed = 0;
  // What one kind of memory has, another has not: a question without an answer leaves the default.
  cuda.cuPointerGetAttribute(&attributes->device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at);
  cuda.cuPointerGetAttribute(&attributes->devicePointer, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, at);
  cuda.cuPointerGetAttribute(&attributes->hostPointer, CU_POINTER_ATTRIBUTE_HOST_POINTER, at);
  cuda.cuPointerGetAttribute(&is_managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, at);
  if (is_managed != 0) attributes->type = hipMemoryTypeManaged;
  attributes->isManaged = is_managed != 0;
  return hipSuccess;
}

// HIP's copy is done when it returns. CUDA's, from pageable memory, may then still be on its way into the device, and a
// non-blocking stream would not wait for it.
static hipError_t copy(void* to, const void* from, size_t bytes) {
  const hipError_t error = FORWARD(cuMemcpy, address(to), address(from), bytes);
  return error == hipSuccess ? FORWARD(cuStreamSynchronize, NULL) : error;
}

EXPORT hipError_t hipMemcpy(void* to, const void* from, size_t bytes, int kind) {
  (void)kind;
  return copy(to, from, bytes);
}

EXPORT hipError_t hipMemcpyHtoD(hipDeviceptr_t to, const void* from, size_t bytes) { return copy(to, from, bytes); }

EXPORT hipError_t hipMemcpyDtoH(void* to, hipDeviceptr_t from, size_t bytes) { return copy(to, from, bytes); }

EXPORT hipError_t hipMemcpyDtoD(hipDeviceptr_t to, hipDeviceptr_t from, size_t bytes) { return copy(to, from, bytes); }

EXPORT hipError_t hipMemcpyAsync(void* to, const void* from, size_t bytes, int kind, hipStream_t stream) {
  (void)kind;
  return FORWARD(cuMemcpyAsync, address(to), address(from), bytes, stream);
}

EXPORT hipError_t hipMemcpyHtoDAsync(hipDeviceptr_t to, const void* from, size_t bytes, hipStream_t stream) {
  return FORWARD(cuMemcpyAsync, address(to), address(from), bytes, stream);
}

EXPORT hipError_t hipMemcpyDtoHAsync(void* to, hipDeviceptr_t from, size_t bytes, hipStream_t stream) {
  return FORWARD(cuMemcpyAsync, address(to), address(from), bytes, stream);
}

EXPORT hipError_t hipMemcpyDtoDAsync(hipDeviceptr_t to, hipDeviceptr_t from, size_t bytes, hipStream_t stream) {
  return FORWARD(cuMemcpyAsync, address(to), address(from), bytes, stream);
}

EXPORT hipError_t hipMemset(void* to, int value, size_t bytes) {
  return FORWARD(cuMemsetD8, address(to), (unsigned char)value, bytes);
}

EXPORT hipError_t hipMemsetAsync(void* to, int value, size_t bytes, hipStream_t stream) {
  return FORWARD(cuMemsetD8Async, address(to), (unsigned char)value, bytes, stream);
}

EXPORT hipError_t hipMemsetD8(hipDeviceptr_t to, unsigned char value, size_t count) {
  return FORWARD(cuMemsetD8, address(to), value, count);
}

EXPORT hipError_t hipMemsetD8Async(hipDeviceptr_t to, unsigned char value, size_t count, hipStream_t stream) {
  return FORWARD(cuMemsetD8Async, address(to), value, count, stream);
}

EXPORT hipError_t hipMemsetD32(hipDeviceptr_t to, int value, size_t count) {
  return FORWARD(cuMemsetD32, address(to), (unsigned)value, count);
}

EXPORT hipError_t hipMemsetD32Async(hipDeviceptr_t to, int value, size_t count, hipStream_t stream) {
  return FORWARD(cuMemsetD32Async, address(to), (unsigned)value, count, stream);
}
