#include "api.h"
#include "handles.h"
#include "stream.h"

namespace moesort_host {
namespace {

hipError_t instantiate(void** handle, void* graph_handle) {
  const auto graph = handles<Graph>().find(graph_handle);
  if (handle == nullptr || graph == nullptr) return hipErrorInvalidValue;
  *handle = handles<GraphExec>().add(std::make_shared<GraphExec>(GraphExec{graph->operations}));
  return hipSuccess;
}

hipError_t launch(void* handle, void* stream_handle) {
  const auto exec = handles<GraphExec>().find(handle);
  if (exec == nullptr) return hipErrorInvalidValue;
  const auto stream = find_stream(stream_handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  // HIP would take it in as a child graph.
  if (stream->capture != nullptr) return hipErrorNotSupported;
  return replay(*exec);
}

hipError_t report_capture(void* handle, hipStreamCaptureStatus* status) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  if (status == nullptr) return hipErrorInvalidValue;
  *status = hipStreamCaptureStatusNone;
  if (stream->capture != nullptr)
    *status = stream->capture->invalidated ? hipStreamCaptureStatusInvalidated : hipStreamCaptureStatusActive;
  return hipSuccess;
}

hipError_t end(void* stream, void** handle) {
  if (handle == nullptr) return hipErrorInvalidValue;
  *handle = nullptr;
  std::shared_ptr<Graph> graph;
  if (const hipError_t error = end_capture(stream, &graph)) return error;
  *handle = handles<Graph>().add(graph);
  return hipSuccess;
}

}  // namespace
}  // namespace moesort_host

using namespace moesort_host;

HOST_API hipError_t hipStreamBeginCapture(void* stream, hipStreamCaptureMode mode) {
  return call("hipStreamBeginCapture", Needs::kDevice, [&] { return begin_capture(stream, mode); });
}

HOST_API hipError_t hipStreamEndCapture(void* stream, void** graph) {
  return call("hipStreamEndCapture", Needs::kNothing, [&] { return end(stream, graph); });
}

HOST_API hipError_t hipStreamIsCapturing(void* stream, hipStreamCaptureStatus* status) {
  return call("hipStreamIsCapturing", Needs::kNothing, [&] { return report_capture(stream, status); });
}

HOST_API hipError_t hipGraphInstantiate(void** exec, void* graph, void**, char*, std::size_t) {
  return call("hipGraphInstantiate", Needs::kDevice, [&] { return instantiate(exec, graph); });
}

HOST_API hipError_t hipGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) {
  return call("hipGraphInstantiateWithFlags", Needs::kDevice, [&] { return instantiate(exec, graph); });
}

HOST_API hipError_t hipGraphLaunch(void* exec, void* stream) {
  return call("hipGraphLaunch", Needs::kDevice, [&] { return launch(exec, stream); });
}

HOST_API hipError_t hipGraphExecDestroy(void* exec) {
  return call("hipGraphExecDestroy", Needs::kNothing,
              [&] { return handles<GraphExec>().remove(exec) ? hipSuccess : hipErrorInvalidValue; });
}

HOST_API hipError_t hipGraphDestroy(void* graph) {
  return call("hipGraphDestroy", Needs::kNothing,
              [&] { return handles<Graph>().remove(graph) ? hipSuccess : hipErrorInvalidValue; });
}
