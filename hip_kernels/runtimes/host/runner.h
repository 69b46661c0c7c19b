// Runs workgroups on one core, one after another, with a fiber for each thread.
//
// Threads run one at a time until they wait at a barrier or a wave operation, or return. The threads of a wave
// run in turn: one *pass* takes every thread of one wave to its next waiting place. Since a wave operation needs
// all of its wave and a barrier all of the workgroup, a pass in which two threads end at different places is
// divergence, and so is a round in which two waves do.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "abi.h"
#include "context_switch.h"
#include "random.h"
#include "stacks.h"

namespace moesort_host {

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
  std::atomic<bool> failed{false};
};

enum class Wait : int { kBarrier, kWave, kEnd };

// Where a thread or a whole wave waits.
struct Arrival {
  Wait wait;
  int line;
  const char* operation;
  const char* file;

  // The same strings of one module: what two arrivals at one place nearly always have.
  bool identical(const Arrival& other) const {
    return file == other.file && line == other.line && operation == other.operation && wait == other.wait;
  }
};

constexpr unsigned kMaxWaves = kMaxLanes / 32;
constexpr unsigned kMaxWaveSize = 64;

class MOESORT_HOST_INTERNAL Runner {
 public:
  Runner();
  ~Runner();

  // Runs workgroup `number` of the grid. A fault is recorded and sets launch.failed.
  void run(Launch& launch, std::uint64_t number);

  // On a fiber: waits for the other threads.
  void arrive(const Arrival& arrival);
  const Exchange* exchange(const Lane& lane, unsigned long long value, const Arrival& arrival);

  // On a fiber: gives the workgroup up. `what` happened in the running thread.
  [[noreturn]] void fail(const std::string& what);

  // "kernel k, workgroup (0, 0, 0)[, thread (1, 0, 0)]"
  std::string describe_workgroup() const;
  std::string describe_thread() const;

  const Stacks& stacks() const { return stacks_; }
  const Workgroup& workgroup() const { return workgroup_; }
  const Launch* launch() const { return launch_; }

 private:
  struct Wave;

  void set_up(Launch& launch);
  void set_up_lanes();
  void set_up_lds();
  void begin_round();
  void begin_pass();
  Context& next_context() { return contexts_[first_ + order_[cursor_]]; }
  void arrive_at_edge(const Arrival& arrival);
  bool finish_pass();
  bool finish_round();
  [[noreturn]] void leave();
  [[noreturn]] void fail_diverged(unsigned one, const Arrival& at, unsigned other, const Arrival& other_at);
  std::string thread_text(unsigned lane) const;
  static void fiber_main();

  Stacks stacks_;
  std::unique_ptr<Context[]> contexts_;
  Context scheduler_;
  Workgroup workgroup_{};
  char* lds_ = nullptr;

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

}  // namespace moesort_host
