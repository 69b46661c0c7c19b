#include "runner.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "fault.h"
#include "settings.h"

namespace moesort_host {
namespace {

constexpr int kJunk = 0xdb;  // nothing may rely on memory being zero
constexpr unsigned kWarpMin = 32;

bool equal(const Index3& a, const Index3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

bool equal(const Arrival& a, const Arrival& b) {
  if (a.wait != b.wait) return false;
  if (a.wait == Wait::kEnd) return true;
  return a.place.line == b.place.line &&
         (a.place.file == b.place.file || std::strcmp(a.place.file, b.place.file) == 0) &&
         (a.place.operation == b.place.operation || std::strcmp(a.place.operation, b.place.operation) == 0);
}

unsigned volume(const Index3& size) { return size.x * size.y * size.z; }

Index3 unfold(std::uint64_t number, const Index3& size) {
  return {static_cast<unsigned>(number % size.x), static_cast<unsigned>(number / size.x % size.y),
          static_cast<unsigned>(number / size.x / size.y)};
}

std::string text(const Index3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

std::string text(const Arrival& arrival) {
  if (arrival.wait == Wait::kEnd) return "has returned";
  const char* file = arrival.place.file;
  if (std::strncmp(file, "./", 2) == 0) file += 2;
  return std::string("waits at ") + arrival.place.operation + " (" + file + ":" + std::to_string(arrival.place.line) +
         ")";
}

// Found by the stack pointer, as in the modules: the fiber's record lies above its stack.
Lane& this_lane() {
  const auto stack = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return *reinterpret_cast<Lane*>((stack & ~(kStackBytes - 1)) + kLaneOffset);
}

}  // namespace

struct Runner::Wave {
  unsigned first;       // thread of the workgroup
  unsigned operations;  // wave operations done so far
  unsigned lanes;
  Arrival arrival;
  // Two, because a lane may be at its next operation before the others have read what this one gave.
  Exchange exchanges[2];
};

Runner::Runner() : contexts_(new Context[kMaxLanes]), waves_(new Wave[kMaxLanes / kWarpMin]) {}

Runner::~Runner() { std::free(lds_); }

void Runner::run(Launch& launch, std::uint64_t number) {
  set_up(launch);
  workgroup_.index = unfold(number, launch.grid);
  random_ = Random(launch.seed + number);
  for (unsigned i = 0; i < wave_count_; ++i) waves_[i].operations = 0;
  if (launch.lds_bytes != 0) std::memset(lds_, kJunk, launch.lds_bytes);
  begin_round();
  switch_context(scheduler_, next_context());
}

void Runner::set_up(Launch& launch) {
  launch_ = &launch;
  workgroup_.size = launch.block;
  workgroup_.count = launch.grid;
  set_up_lds();
  const bool same_lanes = equal(block_, launch.block) && wave_size_ == launch.wave_size;
  if (same_lanes && contexts_ready_) return;
  block_ = launch.block;
  wave_size_ = launch.wave_size;
  set_up_lanes();
}

void Runner::set_up_lds() {
  if (lds_ == nullptr) {
    lds_ = static_cast<char*>(std::aligned_alloc(4096, (settings().lds_bytes + 4095u) & ~4095u));
    if (lds_ == nullptr) throw std::bad_alloc();
  }
  workgroup_.lds = lds_;
}

void Runner::set_up_lanes() {
  const unsigned threads = volume(block_);
  stacks_.grow(threads);
  for (unsigned i = 0; i < threads; ++i) {
    *stacks_.lane(i) = {unfold(i, block_), i % wave_size_, &workgroup_, this};
    prepare(contexts_[i], stacks_.bottom(i), stacks_.bytes(i), &Runner::fiber_main);
  }
  wave_count_ = (threads + wave_size_ - 1) / wave_size_;
  for (unsigned i = 0; i < wave_count_; ++i) {
    Wave& wave = waves_[i];
    wave.first = i * wave_size_;
    wave.lanes = threads - wave.first < wave_size_ ? threads - wave.first : wave_size_;
    for (Exchange& exchange : wave.exchanges) exchange.lanes = wave.lanes;
  }
  contexts_ready_ = true;
}

void Runner::begin_round() {
  runnable_count_ = wave_count_;
  for (unsigned i = 0; i < wave_count_; ++i) runnable_[i] = i;
  picked_ = 0;
  begin_pass();
}

void Runner::begin_pass() {
  if (launch_->shuffled) picked_ = static_cast<unsigned>(random_.below(runnable_count_));
  wave_ = &waves_[runnable_[picked_]];
  cursor_ = 0;
  for (unsigned i = 0; i < wave_->lanes; ++i) order_[i] = static_cast<std::uint16_t>(i);
  if (launch_->shuffled) random_.shuffle(order_, wave_->lanes);
}

Context& Runner::next_context() { return contexts_[wave_->first + order_[cursor_]]; }

void Runner::fiber_main() {
  Runner& runner = *static_cast<Runner*>(this_lane().runner);
  for (;;) {
    runner.launch_->kernel->call(runner.launch_->parameters);
    runner.arrive(Wait::kEnd, {});
  }
}

void Runner::arrive(Wait wait, const Place& place) {
  Context& here = next_context();
  const Arrival arrival = {wait, place};
  if (cursor_ == 0) {
    wave_->arrival = arrival;
  } else if (!equal(wave_->arrival, arrival)) {
    fail_diverged(wave_->first + order_[0], wave_->arrival, wave_->first + order_[cursor_], arrival);
  }
  ++cursor_;
  if (cursor_ == wave_->lanes && !finish_pass()) {
    switch_context(here, scheduler_);
    return;
  }
  Context& next = next_context();
  if (&next != &here) switch_context(here, next);
}

const Exchange* Runner::exchange(const Lane& lane, unsigned long long value, const Place& place) {
  Exchange& exchange = wave_->exchanges[wave_->operations % 2];
  if (cursor_ == 0) exchange.nonzero = 0;
  exchange.values[lane.lane] = value;
  exchange.nonzero |= static_cast<unsigned long long>(value != 0) << lane.lane;
  arrive(Wait::kWave, place);
  return &exchange;
}

// Chooses who goes on after a wave's pass; false when the workgroup has ended.
bool Runner::finish_pass() {
  if (wave_->arrival.wait == Wait::kWave) {
    ++wave_->operations;
  } else {
    --runnable_count_;
    std::memmove(runnable_ + picked_, runnable_ + picked_ + 1, (runnable_count_ - picked_) * sizeof *runnable_);
    if (runnable_count_ == 0) return finish_round();
  }
  begin_pass();
  return true;
}

bool Runner::finish_round() {
  const Arrival& first = waves_[0].arrival;
  for (unsigned i = 1; i < wave_count_; ++i) {
    const Wave& other = waves_[i];
    if (!equal(first, other.arrival)) fail_diverged(0, first, other.first, other.arrival);
  }
  if (first.wait == Wait::kEnd) return false;
  if (launch_->failed) leave();
  begin_round();
  return true;
}

void Runner::fail_diverged(unsigned one, const Arrival& at, unsigned other, const Arrival& other_at) {
  const bool barrier = at.wait != Wait::kWave && other_at.wait != Wait::kWave;
  record_fault(describe_workgroup() + ": thread " + thread_text(one) + " " + text(at) + " but thread " +
               thread_text(other) + " " + text(other_at) + "; every thread of the " + (barrier ? "workgroup" : "wave") +
               " must reach the same place");
  leave();
}

void Runner::fail(const std::string& what) {
  record_fault(describe_thread() + " " + what);
  leave();
}

// The fibers are left in the middle of the kernel, so all start anew in the next launch.
void Runner::leave() {
  launch_->failed = true;
  contexts_ready_ = false;
  Context abandoned;
  switch_context(abandoned, scheduler_);
  __builtin_unreachable();
}

std::string Runner::thread_text(unsigned lane) const { return text(unfold(lane, block_)); }

std::string Runner::describe_workgroup() const {
  return std::string("kernel ") + launch_->kernel->name + ", workgroup " + text(workgroup_.index);
}

std::string Runner::describe_thread() const {
  return describe_workgroup() + ", thread " + thread_text(wave_->first + order_[cursor_]);
}

}  // namespace moesort_host
