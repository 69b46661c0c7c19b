// What a caller has made and not given back: for tests of what a program leaves behind.
#pragma once
#include <cstddef>

namespace moesort_host {

// hiprtc's programs, whose type and lock are api_rtc.cpp's own.
std::size_t live_programs();

}  // namespace moesort_host

// How many there are of "stream", "event", "module", "graph", "graph_exec", "program", "memory" (allocations of the
// device) or "memory_bytes"; -1 for another kind.
extern "C" long moesort_host_live(const char* kind);
