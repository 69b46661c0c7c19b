// Stream capture and graphs. Capture modes, capture states and instantiation flags have CUDA's numbers.
#include "context.h"

EXPORT hipError_t hipStreamBeginCapture(hipStream_t stream, int mode) {
  return FORWARD(cuStreamBeginCapture, stream, mode);
}

EXPORT hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t* graph) {
  return FORWARD(cuStreamEndCapture, stream, graph);
}

EXPORT hipError_t hipStreamIsCapturing(hipStream_t stream, int* status) {
  return FORWARD(cuStreamIsCapturing, stream, status);
}

EXPORT hipError_t hipStreamGetCaptureInfo(hipStream_t stream, int* status, unsigned long long* id) {
  return FORWARD(cuStreamGetCaptureInfo, stream, status, id, NULL, NULL, NULL);
}

EXPORT hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t* exec, hipGraph_t graph, unsigned long long flags) {
  return FORWARD(cuGraphInstantiateWithFlags, exec, graph, flags);
}

EXPORT hipError_t hipGraphUpload(hipGraphExec_t exec, hipStream_t stream) {
  return FORWARD(cuGraphUpload, exec, stream);
}

EXPORT hipError_t hipGraphLaunch(hipGraphExec_t exec, hipStream_t stream) {
  return FORWARD(cuGraphLaunch, exec, stream);
}

EXPORT hipError_t hipGraphExecDestroy(hipGraphExec_t exec) { return FORWARD(cuGraphExecDestroy, exec); }

EXPORT hipError_t hipGraphDestroy(hipGraph_t graph) { return FORWARD(cuGraphDestroy, graph); }
