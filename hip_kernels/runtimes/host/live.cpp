#include "live.h"

#include <mutex>
#include <string>

#include "api.h"
#include "handles.h"
#include "memory.h"
#include "module.h"
#include "stream.h"

extern "C" long moesort_host_live(const char* kind) {
  using namespace moesort_host;
  const std::lock_guard<std::mutex> lock(api_mutex());
  const std::string name = kind == nullptr ? "" : kind;
  const auto count = [&]() -> std::size_t {
    if (name == "stream") return handles<Stream>().size();
    if (name == "event") return handles<Event>().size();
    if (name == "module") return handles<Module>().size();
    if (name == "graph") return handles<Graph>().size();
    if (name == "graph_exec") return handles<GraphExec>().size();
    if (name == "program") return live_programs();
    if (name == "memory") return memory().device_allocations();
    if (name == "memory_bytes") return memory().device_bytes();
    return static_cast<std::size_t>(-1);
  };
  return static_cast<long>(count());
}
