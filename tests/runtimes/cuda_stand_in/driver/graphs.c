#include <stdlib.h>

#include "stand_in.h"

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  CALLED_IN_CONTEXT("%s, %d", stream_name(stream), mode);
  stream->capture = calloc(1, sizeof *stream->capture);
  return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  if (stream->capture == NULL) return kCaptureUnmatched;
  *graph = stream->capture;
  stream->capture = NULL;
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  *status = stream->capture != NULL;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, int* status, unsigned long long* id, CUgraph* graph,
                                   const CUgraphNode** nodes, size_t* count) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  if (graph != NULL || nodes != NULL || count != NULL) return kInvalidValue;
  *status = stream->capture != NULL;
  *id = 7;
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) {
  CALLED_IN_CONTEXT("");
  free(graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  CALLED_IN_CONTEXT("%llu", flags);
  *exec = calloc(1, sizeof **exec);
  (*exec)->graph = *graph;
  return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  return exec == NULL ? kInvalidHandle : CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  CALLED_IN_CONTEXT("%s", stream_name(stream));
  for (int i = 0; i < exec->graph.count; ++i) execute(&exec->graph.operations[i]);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
  CALLED_IN_CONTEXT("");
  free(exec);
  return CUDA_SUCCESS;
}
