#include "stream.h"

#include <algorithm>

#include "clock.h"
#include "handles.h"

namespace moesort_host {
namespace {

// HIP's hipStreamLegacy and hipStreamPerThread.
constexpr std::uintptr_t kNamedStreams = 2;

// The streams that are capturing, in no order.
std::vector<std::shared_ptr<Stream>>& capturing_streams() {
  static auto& instance = *new std::vector<std::shared_ptr<Stream>>;
  return instance;
}

const std::shared_ptr<Stream>& default_stream() {
  static const auto& instance = *new std::shared_ptr<Stream>(new Stream);
  return instance;
}

void stop_capturing(const std::shared_ptr<Stream>& stream) {
  auto& streams = capturing_streams();
  streams.erase(std::remove(streams.begin(), streams.end(), stream), streams.end());
  stream->capture.reset();
}

// Work on the default stream waits for all blocking streams, which a capture cannot express.
hipError_t refuse_if_implicit(const void* handle) {
  if (!is_default_stream(handle)) return hipSuccess;
  for (const auto& stream : capturing_streams()) {
    if ((stream->flags & hipStreamNonBlocking) != 0) continue;
    stream->capture->invalidated = true;
    return hipErrorStreamCaptureImplicit;
  }
  return hipSuccess;
}

hipError_t run_now(const Operation& operation) {
  const hipError_t error = run(operation);
  if (error == hipSuccess && clock().is_virtual()) clock().advance(virtual_us(operation));
  return error;
}

}  // namespace

bool is_default_stream(const void* handle) { return reinterpret_cast<std::uintptr_t>(handle) <= kNamedStreams; }

std::shared_ptr<Stream> find_stream(const void* handle) {
  return is_default_stream(handle) ? default_stream() : handles<Stream>().find(handle);
}

hipError_t submit(const void* handle, Operation operation) {
  const std::shared_ptr<Stream> stream = find_stream(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  if (const hipError_t error = refuse_if_implicit(handle)) return error;
  if (stream->capture == nullptr) return run_now(operation);
  if (stream->capture->invalidated) return hipErrorStreamCaptureInvalidated;
  stream->capture->graph.operations.push_back(std::move(operation));
  return hipSuccess;
}

hipError_t replay(const GraphExec& exec) {
  if (clock().is_virtual()) {
    double duration_us = 0;
    for (const Operation& operation : exec.operations) duration_us += virtual_us(operation);
    clock().advance(duration_us);
    return hipSuccess;
  }
  for (const Operation& operation : exec.operations)
    if (const hipError_t error = run(operation)) return error;
  return hipSuccess;
}

hipError_t refuse_if_unsafe() {
  hipError_t error = hipSuccess;
  for (const auto& stream : capturing_streams()) {
    Capture& capture = *stream->capture;
    const bool own_thread = pthread_equal(capture.thread, pthread_self()) != 0;
    if (capture.mode == hipStreamCaptureModeRelaxed) continue;
    if (capture.mode == hipStreamCaptureModeThreadLocal && !own_thread) continue;
    capture.invalidated = true;
    error = hipErrorStreamCaptureUnsupported;
  }
  return error;
}

hipError_t refuse_if_capturing() {
  for (const auto& stream : capturing_streams()) stream->capture->invalidated = true;
  return capturing_streams().empty() ? hipSuccess : hipErrorStreamCaptureUnsupported;
}

hipError_t refuse_if_capturing(Stream& stream) {
  if (stream.capture == nullptr) return hipSuccess;
  stream.capture->invalidated = true;
  return hipErrorStreamCaptureUnsupported;
}

hipError_t begin_capture(const void* handle, hipStreamCaptureMode mode) {
  if (mode < hipStreamCaptureModeGlobal || mode > hipStreamCaptureModeRelaxed) return hipErrorInvalidValue;
  const std::shared_ptr<Stream> stream = find_stream(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  if (is_default_stream(handle)) return hipErrorStreamCaptureUnsupported;
  if (stream->capture != nullptr) return hipErrorIllegalState;
  stream->capture.reset(new Capture{mode, pthread_self(), false, {}});
  capturing_streams().push_back(stream);
  return hipSuccess;
}

hipError_t end_capture(const void* handle, std::shared_ptr<Graph>* graph) {
  const std::shared_ptr<Stream> stream = find_stream(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  if (stream->capture == nullptr) return hipErrorIllegalState;
  const Capture& capture = *stream->capture;
  const bool other_thread = pthread_equal(capture.thread, pthread_self()) == 0;
  if (other_thread && capture.mode != hipStreamCaptureModeRelaxed) return hipErrorStreamCaptureWrongThread;
  const bool invalidated = capture.invalidated;
  if (!invalidated) *graph = std::make_shared<Graph>(std::move(stream->capture->graph));
  stop_capturing(stream);
  return invalidated ? hipErrorStreamCaptureInvalidated : hipSuccess;
}

}  // namespace moesort_host
