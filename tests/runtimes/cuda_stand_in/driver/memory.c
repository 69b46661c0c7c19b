#include <stdio.h>
#include <stdlib.h>

#include "stand_in.h"

enum { kBlocks = 64 };

static struct Block {
  char* memory;
  size_t bytes;
  int type;
  int device;
} blocks[kBlocks];

static struct Block* find_block(CUdeviceptr pointer) {
  const char* const at = (const char*)(uintptr_t)pointer;
  for (int i = 0; i < kBlocks; ++i)
    if (blocks[i].memory != NULL && at >= blocks[i].memory && at < blocks[i].memory + blocks[i].bytes)
      return &blocks[i];
  return NULL;
}

const char* name_of(CUdeviceptr pointer) {
  static char names[4][32];
  static int next;
  char* const name = names[next++ % 4];
  const struct Block* const block = find_block(pointer);
  if (block == NULL) return "host";
  const int offset = (int)((const char*)(uintptr_t)pointer - block->memory);
  snprintf(name, sizeof names[0], offset == 0 ? "block %d" : "block %d + %d", (int)(block - blocks), offset);
  return name;
}

static CUresult allocate(void** pointer, size_t bytes, int type) {
  if (bytes == 0) return kInvalidValue;
  for (int i = 0; i < kBlocks; ++i) {
    if (blocks[i].memory != NULL) continue;
    blocks[i] = (struct Block){calloc(1, bytes), bytes, type, current_context->device};
    *pointer = blocks[i].memory;
    return CUDA_SUCCESS;
  }
  return kOutOfMemory;
}

static CUresult release(CUdeviceptr pointer) {
  struct Block* const block = find_block(pointer);
  if (block == NULL) return kInvalidValue;
  free(block->memory);
  block->memory = NULL;
  return CUDA_SUCCESS;
}

static CUresult submit_copy(CUstream stream, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return submit(stream, (struct Operation){.type = 1, .to = to, .from = from, .bytes = bytes});
}

static CUresult submit_set(CUstream stream, CUdeviceptr to, unsigned value, size_t count, size_t element_bytes) {
  return submit(
      stream, (struct Operation){
                  .type = 2, .to = to, .value = value, .bytes = count * element_bytes, .element_bytes = element_bytes});
}

CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  CALLED_IN_CONTEXT("%zu", bytes);
  return allocate((void**)pointer, bytes, CU_MEMORYTYPE_DEVICE);
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
  CALLED_IN_CONTEXT("%s", name_of(pointer));
  return release(pointer);
}

CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream) {
  CALLED_IN_CONTEXT("%zu, %s", bytes, stream_name(stream));
  return allocate((void**)pointer, bytes, CU_MEMORYTYPE_DEVICE);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
  CALLED_IN_CONTEXT("%s, %s", name_of(pointer), stream_name(stream));
  return release(pointer);
}

CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  CALLED_IN_CONTEXT("%zu, %u", bytes, flags);
  return allocate(pointer, bytes, CU_MEMORYTYPE_HOST);
}

CUresult cuMemFreeHost(void* pointer) {
  CALLED_IN_CONTEXT("%s", name_of((CUdeviceptr)(uintptr_t)pointer));
  return release((CUdeviceptr)(uintptr_t)pointer);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pointer, void* host, unsigned flags) {
  CALLED_IN_CONTEXT("%s, %u", name_of((CUdeviceptr)(uintptr_t)host), flags);
  *pointer = (CUdeviceptr)(uintptr_t)host;
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  CALLED_IN_CONTEXT("");
  *free_bytes = (size_t)60 << 30;
  *total_bytes = (size_t)80 << 30;
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* value, int attribute, CUdeviceptr pointer) {
  const struct Block* const block = find_block(pointer);
  if (block == NULL) return kInvalidValue;
  const bool on_host = block->type == CU_MEMORYTYPE_HOST;
  if (attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) *(unsigned*)value = block->type;
  if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *(int*)value = block->device;
  if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) *(CUdeviceptr*)value = pointer;
  if (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER && !on_host) return kInvalidValue;
  if (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER) *(CUdeviceptr*)value = pointer;
  if (attribute == CU_POINTER_ATTRIBUTE_IS_MANAGED) *(unsigned*)value = 0;
  return CUDA_SUCCESS;
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  CALLED_IN_CONTEXT("%s, %s, %zu", name_of(to), name_of(from), bytes);
  return submit_copy(NULL, to, from, bytes);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  CALLED_IN_CONTEXT("%s, %s, %zu, %s", name_of(to), name_of(from), bytes, stream_name(stream));
  return submit_copy(stream, to, from, bytes);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  CALLED_IN_CONTEXT("%s, %u, %zu", name_of(to), value, count);
  return submit_set(NULL, to, value, count, 1);
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  CALLED_IN_CONTEXT("%s, %u, %zu", name_of(to), value, count);
  return submit_set(NULL, to, value, count, 4);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  CALLED_IN_CONTEXT("%s, %u, %zu, %s", name_of(to), value, count, stream_name(stream));
  return submit_set(stream, to, value, count, 1);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  CALLED_IN_CONTEXT("%s, %u, %zu, %s", name_of(to), value, count, stream_name(stream));
  return submit_set(stream, to, value, count, 4);
}
