#include "api.h"
#include "clock.h"
#include "handles.h"
#include "stream.h"

namespace moesort_host {
namespace {

constexpr unsigned kKnownEventFlags = 0xe0000007;  // blocking, no timing, interprocess, release, system release
constexpr float kUsPerMs = 1000;

hipError_t create_stream(void** handle, unsigned flags) {
  if (handle == nullptr || flags > hipStreamNonBlocking) return hipErrorInvalidValue;
  auto stream = std::make_shared<Stream>();
  stream->flags = flags;
  *handle = handles<Stream>().add(stream);
  return hipSuccess;
}

hipError_t destroy_stream(void* handle) {
  const auto stream = handles<Stream>().find(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  if (const hipError_t error = refuse_if_capturing(*stream)) return error;
  handles<Stream>().remove(handle);
  return hipSuccess;
}

hipError_t wait_for(void* handle) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return hipErrorInvalidHandle;
  return is_default_stream(handle) ? refuse_if_unsafe() : refuse_if_capturing(*stream);
}

hipError_t create_event(void** handle, unsigned flags) {
  if (handle == nullptr || (flags & ~kKnownEventFlags) != 0) return hipErrorInvalidValue;
  auto event = std::make_shared<Event>();
  event->flags = flags;
  *handle = handles<Event>().add(event);
  return hipSuccess;
}

hipError_t record(void* handle, void* stream_handle) {
  const auto event = handles<Event>().find(handle);
  const auto stream = find_stream(stream_handle);
  if (event == nullptr || stream == nullptr) return hipErrorInvalidHandle;
  event->recorded = true;
  event->captured = stream->capture != nullptr;
  event->time_us = clock().now_us();
  return hipSuccess;
}

// Work runs at once, so an event has always happened.
hipError_t wait_for_event(void* handle) {
  const auto event = handles<Event>().find(handle);
  if (event == nullptr) return hipErrorInvalidHandle;
  return event->captured ? hipErrorCapturedEvent : hipSuccess;
}

// Orders two streams, which they are anyway; but a capture cannot take in another stream's work.
hipError_t wait_in_stream(void* stream_handle, void* handle) {
  const auto event = handles<Event>().find(handle);
  const auto stream = find_stream(stream_handle);
  if (event == nullptr || stream == nullptr) return hipErrorInvalidHandle;
  const bool capturing = stream->capture != nullptr;
  return event->captured == capturing ? hipSuccess : hipErrorStreamCaptureUnsupported;
}

hipError_t elapsed(float* milliseconds, void* start_handle, void* stop_handle) {
  const auto start = handles<Event>().find(start_handle);
  const auto stop = handles<Event>().find(stop_handle);
  if (milliseconds == nullptr) return hipErrorInvalidValue;
  if (start == nullptr || stop == nullptr || !start->recorded || !stop->recorded) return hipErrorInvalidHandle;
  if (((start->flags | stop->flags) & hipEventDisableTiming) != 0) return hipErrorInvalidHandle;
  if (start->captured || stop->captured) return hipErrorCapturedEvent;
  *milliseconds = static_cast<float>((stop->time_us - start->time_us) / kUsPerMs);
  return hipSuccess;
}

}  // namespace
}  // namespace moesort_host

using namespace moesort_host;

HOST_API hipError_t hipStreamCreate(void** stream) {
  return call("hipStreamCreate", Needs::kDevice, [&] { return create_stream(stream, 0); });
}

HOST_API hipError_t hipStreamCreateWithFlags(void** stream, unsigned flags) {
  return call("hipStreamCreateWithFlags", Needs::kDevice, [&] { return create_stream(stream, flags); });
}

HOST_API hipError_t hipStreamDestroy(void* stream) {
  return call("hipStreamDestroy", Needs::kNothing, [&] { return destroy_stream(stream); });
}

HOST_API hipError_t hipStreamSynchronize(void* stream) {
  return call("hipStreamSynchronize", Needs::kDevice, [&] { return wait_for(stream); });
}

HOST_API hipError_t hipStreamQuery(void* stream) {
  return call("hipStreamQuery", Needs::kDevice, [&] { return wait_for(stream); });
}

HOST_API hipError_t hipStreamWaitEvent(void* stream, void* event, unsigned) {
  return call("hipStreamWaitEvent", Needs::kDevice, [&] { return wait_in_stream(stream, event); });
}

HOST_API hipError_t hipEventCreate(void** event) {
  return call("hipEventCreate", Needs::kDevice, [&] { return create_event(event, 0); });
}

HOST_API hipError_t hipEventCreateWithFlags(void** event, unsigned flags) {
  return call("hipEventCreateWithFlags", Needs::kDevice, [&] { return create_event(event, flags); });
}

HOST_API hipError_t hipEventDestroy(void* event) {
  return call("hipEventDestroy", Needs::kNothing,
              [&] { return handles<Event>().remove(event) ? hipSuccess : hipErrorInvalidHandle; });
}

HOST_API hipError_t hipEventRecord(void* event, void* stream) {
  return call("hipEventRecord", Needs::kDevice, [&] { return record(event, stream); });
}

HOST_API hipError_t hipEventSynchronize(void* event) {
  return call("hipEventSynchronize", Needs::kDevice, [&] { return wait_for_event(event); });
}

HOST_API hipError_t hipEventQuery(void* event) {
  return call("hipEventQuery", Needs::kDevice, [&] { return wait_for_event(event); });
}

HOST_API hipError_t hipEventElapsedTime(float* milliseconds, void* start, void* stop) {
  return call("hipEventElapsedTime", Needs::kDevice, [&] { return elapsed(milliseconds, start, stop); });
}
