// Stream capture and graphs. Capture modes, capture states and instantiation flags have CUDA's numbers.
#include "context.h"

enum { hipGraphNodeTypeBatchMemOp = 14 };

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

EXPORT hipError_t hipThreadExchangeStreamCaptureMode(int* mode) {
  return FORWARD(cuThreadExchangeStreamCaptureMode, mode);
}

EXPORT hipError_t hipGraphGetNodes(hipGraph_t graph, hipGraphNode_t* nodes, size_t* count) {
  return FORWARD(cuGraphGetNodes, graph, nodes, count);
}

EXPORT hipError_t hipGraphNodeGetType(hipGraphNode_t node, int* type) {
  const hipError_t error = FORWARD(cuGraphNodeGetType, node, type);
  if (error == hipSuccess && *type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP) *type = hipGraphNodeTypeBatchMemOp;
  return error;
}

EXPORT hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t* exec, hipGraph_t graph, unsigned long long flags) {
  return FORWARD(cuGraphInstantiateWithFlags, exec, graph, flags);
}

EXPORT hipError_t hipGraphInstantiate(hipGraphExec_t* exec, hipGraph_t graph, hipGraphNode_t* error_node, char* log,
                                      size_t log_bytes) {
  if (error_node != NULL) *error_node = NULL;
  if (log != NULL && log_bytes > 0) log[0] = '\0';
  return FORWARD(cuGraphInstantiateWithFlags, exec, graph, 0);
}

EXPORT hipError_t hipGraphUpload(hipGraphExec_t exec, hipStream_t stream) {
  return FORWARD(cuGraphUpload, exec, stream);
}

EXPORT hipError_t hipGraphLaunch(hipGraphExec_t exec, hipStream_t stream) {
  return FORWARD(cuGraphLaunch, exec, stream);
}

EXPORT hipError_t hipGraphExecDestroy(hipGraphExec_t exec) { return FORWARD(cuGraphExecDestroy, exec); }

EXPORT hipError_t hipGraphDestroy(hipGraph_t graph) { return FORWARD(cuGraphDestroy, graph); }
