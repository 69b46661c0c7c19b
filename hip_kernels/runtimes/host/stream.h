// Streams and captures. Work runs at once, in the calling thread, so every stream is always idle.
#pragma once
#include <pthread.h>

#include <memory>
#include <vector>

#include "hip_types.h"
#include "operations.h"

namespace moesort_host {

struct Graph {
  std::vector<Operation> operations;  // in the order of the stream
};

struct GraphExec {
  std::vector<Operation> operations;
};

struct Capture {
  hipStreamCaptureMode mode;
  pthread_t thread;
  bool invalidated = false;
  Graph graph;
};

struct Stream {
  unsigned flags = 0;
  std::unique_ptr<Capture> capture;
};

struct Event {
  unsigned flags = 0;
  bool recorded = false;
  bool captured = false;  // last recorded in a capture, so without a time
  double time_us = 0;
};

// The stream of a handle: the default one for HIP's three names of it; null if there is no such stream.
std::shared_ptr<Stream> find_stream(const void* handle);
bool is_default_stream(const void* handle);

// Records the operation if the stream is capturing, else runs it.
hipError_t submit(const void* stream, Operation operation);

// Runs an instantiated graph. On the virtual clock, only its time passes.
hipError_t replay(const GraphExec& exec);

// For calls that wait for or touch the whole device: forbidden while a capture of mode global, or one of this
// thread of mode thread-local, is on. The capture is then invalid.
hipError_t refuse_if_unsafe();

// For calls that wait for the device: forbidden while any stream captures.
hipError_t refuse_if_capturing();

// For calls that wait for this stream.
hipError_t refuse_if_capturing(Stream& stream);

hipError_t begin_capture(const void* handle, hipStreamCaptureMode mode);
hipError_t end_capture(const void* handle, std::shared_ptr<Graph>* graph);

}  // namespace moesort_host
