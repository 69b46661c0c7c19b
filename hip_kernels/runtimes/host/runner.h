// Runs workgroups on one core, one after another, with a fiber for each thread.
//
// Threads run one at a time until they wait at a barrier or a wave operation, or return. The threads of a wave
// run in turn: one *pass* takes every thread of one wave to its next waiting place. Since a wave operation needs
// all of its wave and a barrier all of the workgroup, a pass in which two threads end at different places is
// divergence, and so is a round in which two waves do.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "abi.h"
#include "context_switch.h"
#include "lds.h"
#include "random.h"
#include "stacks.h"

namespace moesort_host {

struct Allocation;

struct Range {
  const char* begin;
  std::size_t bytes;

  bool contains(const void* address) const {
    return static_cast<std::size_t>(static_cast<const char*>(address) - begin) < bytes;
  }
};

// One launch, as every core sees it.
struct Launch {
  const KernelEntry* kernel;
  Index3 grid;
  Index3 block;
  unsigned lds_bytes;
  unsigned wave_size;
  void* const* parameters;
  bool shuffled;
  std::uint64_t seed;
  std::array<Range, 3> internal;  // what a checked kernel may access beside its memory: arguments, its own globals
  std::atomic<bool> failed{false};
};

enum class Wait : int { kBarrier, kWave, kEnd };

// Where a thread or a whole wave waits.
struct Arrival {
  Wait wait;
  const char* operation;
  const char* file;
  int line;
};

// The stacks of a large workgroup are more than the first-level cache holds.
constexpr unsigned kPrefetchAhead = 4;
constexpr unsigned kMaxWaves = kMaxLanes / 32;
constexpr unsigned kMaxWaveSize = 64;

class MOESORT_HOST_INTERNAL Runner {
 public:
  Runner();
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Runs workgroup `number` of the grid. A fault is recorded and sets launch.failed.
  void run(Launch& launch, std::uint64_t number);

  // On a fiber: waits for the other threads. The usual case, a thread in the middle of a pass, leaves no frame on the
  // stack and comes back without a return, since what a fiber leaves there decides how many of them the cache holds.
  void arrive(Wait wait, const char* operation, const char* file, int line) {
    const bool edge = cursor_ == 0 || cursor_ + 1 == lanes_;
    const bool same = arrival_.file == file && arrival_.line == line && arrival_.operation == operation;
    if (edge || !same || arrival_.wait != wait) return arrive_at_edge({wait, operation, file, line});
    Context& here = next_context();
    ++cursor_;
    Context& next = next_context();
    prefetch(*(&next + kPrefetchAhead));
    switch_context(here, next);
  }
  // Leaves what the wave exchanges in lane.exchanged.
  void exchange(Lane& lane, const char* operation, const char* file, int line, unsigned long long value);

  // On a fiber: gives the workgroup up. The running thread did `what` at `code`.
  [[noreturn]] void fail(const std::string& what, const void* code);

  bool in_kernel() const { return in_kernel_; }

  const Stacks& stacks() const { return stacks_; }
  const Launch* launch() const { return launch_; }

  // For checking mode.
  bool is_internal(const void* address) const;
  bool in_lds(const void* address, std::size_t* offset) const;
  unsigned char* written_lds() const { return lds_.written(); }
  const Allocation* find_allocation(const void* address);

 private:
  struct Wave;

  void set_up(Launch& launch);
  void set_up_lanes();
  void begin_round();
  void begin_pass();
  Context& next_context() { return contexts_[first_ + order_[cursor_]]; }
  void arrive_at_edge(const Arrival& arrival);
  bool finish_pass();
  bool finish_round();
  [[noreturn]] void leave();
  [[noreturn]] void fail_diverged(unsigned one, const Arrival& at, unsigned other, const Arrival& other_at);
  std::string thread_text(unsigned lane) const;
  std::string workgroup_text() const;
  static void fiber_main();

  Stacks stacks_;
  std::unique_ptr<Context[]> contexts_;
  Context scheduler_;
  Workgroup workgroup_{};
  Lds lds_;
  bool in_kernel_ = false;
  const Allocation* found_[4] = {};  // checking mode's last finds
  unsigned next_found_ = 0;

  // What the lanes were last set up for.
  Index3 block_{};
  unsigned wave_size_ = 0;
  bool contexts_ready_ = false;

  Launch* launch_ = nullptr;
  Random random_{0};
  std::unique_ptr<Wave[]> waves_;
  unsigned wave_count_ = 0;
  unsigned runnable_[kMaxWaves];  // waves that have not yet come to the round's end
  unsigned runnable_count_ = 0;
  unsigned picked_ = 0;   // index in runnable_ of the running wave
  Wave* wave_ = nullptr;  // the running one
  unsigned first_ = 0;    // its first thread and their number
  unsigned lanes_ = 0;
  Arrival arrival_{};                  // where this pass's first thread waits
  std::uint16_t order_[kMaxWaveSize];  // of the wave's lanes in this pass
  unsigned cursor_ = 0;                // in order_
};

// The runner that has this thread, or null. Of a model that costs nothing to read, also in a signal's handler.
extern __thread Runner* this_threads_runner MOESORT_HOST_INTERNAL __attribute__((tls_model("initial-exec")));

}  // namespace moesort_host
