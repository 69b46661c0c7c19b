#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

static int streams_made;
static int operations_done;

const char* stream_name(CUstream stream) {
  static char names[4][32];
  static int next;
  char* const name = names[next++ % 4];
  snprintf(name, sizeof names[0], "stream %d", stream == NULL ? 0 : stream->number);
  return name;
}

void execute(const struct Operation* operation) {
  ++operations_done;
  char* const to = (char*)(uintptr_t)operation->to;
  if (operation->type == 1) memmove(to, (const char*)(uintptr_t)operation->from, operation->bytes);
  if (operation->type == 2)
    for (size_t i = 0; i < operation->bytes; i += operation->element_bytes)
      memcpy(to + i, &operation->value, operation->element_bytes);
  if (operation->type == 0)
    for (int i = 0; i < operation->arguments.count; ++i) operation->arguments.data[i] = operation->arguments.value;
}

CUresult submit(CUstream stream, struct Operation operation) {
  if (stream == NULL || stream->capture == NULL) {
    execute(&operation);
    return CUDA_SUCCESS;
  }
  CUgraph const graph = stream->capture;
  if (graph->count == kMaxOperations) return kOutOfMemory;
  graph->operations[graph->count++] = operation;
  return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  CALLED_IN_CONTEXT("%u, %d", flags, priority);
  *stream = calloc(1, sizeof **stream);
  (*stream)->number = ++streams_made;
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  CALLED_IN_CONTEXT("%u", flags);
  *stream = calloc(1, sizeof **stream);
  (*stream)->number = ++streams_made;
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  free(stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream stream) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  return CUDA_SUCCESS;
}

struct CUevent_st {
  unsigned flags;
  int operations_before;
};

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  CALLED_IN_CONTEXT("%s, %u, %u", stream_name(stream), event->flags, flags);
  return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  CALLED_IN_CONTEXT("%u", flags);
  *event = calloc(1, sizeof **event);
  (*event)->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
  CALLED_IN_CONTEXT("%u", event->flags);
  free(event);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  CALLED_IN_CONTEXT("%u, %s", event->flags, stream_name(stream));
  event->operations_before = operations_done;
  return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent event) {
  CALLED_IN_CONTEXT("%u", event->flags);
  return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
  CALLED_IN_CONTEXT("%u", event->flags);
  return CUDA_SUCCESS;
}

// Half a millisecond an operation.
CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent stop) {
  CALLED_IN_CONTEXT("%u, %u", start->flags, stop->flags);
  *milliseconds = 0.5f * (stop->operations_before - start->operations_before);
  return CUDA_SUCCESS;
}
