#include "runner.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>

#include "fault.h"
#include "launch.h"
#include "memory.h"
#include "source_place.h"

namespace moesort_host {
namespace {

bool equal(const Index3& a, const Index3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

bool equal(const Arrival& a, const Arrival& b) {
  if (a.wait != b.wait || a.wait == Wait::kEnd) return a.wait == b.wait;
  return a.line == b.line && std::strcmp(a.file, b.file) == 0 && std::strcmp(a.operation, b.operation) == 0;
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
  const char* const file = std::strncmp(arrival.file, "./", 2) == 0 ? arrival.file + 2 : arrival.file;
  return std::string("waits at ") + arrival.operation + " (" + file + ":" + std::to_string(arrival.line) + ")";
}

}  // namespace

__thread Runner* this_threads_runner = nullptr;

struct Runner::Wave {
  unsigned first;       // thread of the workgroup
  unsigned operations;  // wave operations done so far
  unsigned lanes;
  Arrival arrival;
  // Two, because a lane may be at its next operation before the others have read what this one gave.
  Exchange exchanges[2];
};

Runner::Runner() : contexts_(new Context[kMaxLanes + kPrefetchAhead]()), waves_(new Wave[kMaxWaves]) {
  std::iota(std::begin(order_), std::end(order_), std::uint16_t{0});
}

Runner::~Runner() = default;

void Runner::run(Launch& launch, std::uint64_t number) {
  set_up(launch);
  workgroup_.index = unfold(number, launch.grid);
  random_ = Random(launch.seed + number);
  for (unsigned i = 0; i < wave_count_; ++i) waves_[i].operations = 0;
  workgroup_.lds = lds_.renew(launch.lds_bytes);
  begin_round();
  in_kernel_ = true;
  switch_context(scheduler_, next_context());
  in_kernel_ = false;
}

void Runner::set_up(Launch& launch) {
  launch_ = &launch;
  std::fill(std::begin(found_), std::end(found_), nullptr);
  workgroup_.size = launch.block;
  workgroup_.count = launch.grid;
  const bool same_lanes = equal(block_, launch.block) && wave_size_ == launch.wave_size;
  if (same_lanes && contexts_ready_) return;
  block_ = launch.block;
  wave_size_ = launch.wave_size;
  set_up_lanes();
}

void Runner::set_up_lanes() {
  const unsigned threads = volume(block_);
  stacks_.grow(threads);
  for (unsigned i = 0; i < threads; ++i) {
    *stacks_.lane(i) = {unfold(i, block_), i % wave_size_, &workgroup_, nullptr};
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
  first_ = wave_->first;
  lanes_ = wave_->lanes;
  cursor_ = 0;
  if (!launch_->shuffled) return;
  std::iota(order_, order_ + lanes_, std::uint16_t{0});
  random_.shuffle(order_, lanes_);
}

void Runner::fiber_main() {
  Runner& runner = *this_threads_runner;
  for (;;) {
    runner.launch_->kernel->call(runner.launch_->parameters);
    runner.arrive(Wait::kEnd, nullptr, nullptr, 0);
  }
}

// The first or last thread of a pass, or one that seems to wait elsewhere.
void Runner::arrive_at_edge(const Arrival& arrival) {
  Context& here = next_context();
  if (cursor_ == 0)
    arrival_ = arrival;
  else if (!equal(arrival_, arrival))
    fail_diverged(first_ + order_[0], arrival_, first_ + order_[cursor_], arrival);
  ++cursor_;
  const bool ended = cursor_ == lanes_ && !finish_pass();
  Context& next = ended ? scheduler_ : next_context();
  if (&next != &here) switch_context(here, next);
}

void Runner::exchange(Lane& lane, const char* operation, const char* file, int line, unsigned long long value) {
  Exchange& exchange = wave_->exchanges[wave_->operations % 2];
  if (cursor_ == 0) exchange.nonzero = 0;
  exchange.values[lane.lane] = value;
  exchange.nonzero |= static_cast<unsigned long long>(value != 0) << lane.lane;
  lane.exchanged = &exchange;
  arrive(Wait::kWave, operation, file, line);
}

// Chooses who goes on after a wave's pass; false when the workgroup has ended.
bool Runner::finish_pass() {
  wave_->arrival = arrival_;
  if (arrival_.wait == Wait::kWave) {
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
  record_fault(workgroup_text() + ": thread " + thread_text(one) + " " + text(at) + " but thread " +
               thread_text(other) + " " + text(other_at) + "; every thread of the " + (barrier ? "workgroup" : "wave") +
               " must reach the same place");
  leave();
}

void Runner::fail(const std::string& what, const void* code) {
  record_fault(workgroup_text() + ", thread " + thread_text(first_ + order_[cursor_]) + " " + what + " (" +
               source_place(code) + ")");
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

std::string Runner::workgroup_text() const {
  return std::string("kernel ") + launch_->kernel->name + ", workgroup " + text(workgroup_.index);
}

bool Runner::is_internal(const void* address) const {
  if (stacks_.contains(address)) return true;
  for (const Range& range : launch_->internal)
    if (range.contains(address)) return true;
  const Range own[] = {{reinterpret_cast<const char*>(this), sizeof *this},
                       {reinterpret_cast<const char*>(waves_.get()), wave_count_ * sizeof(Wave)},
                       {reinterpret_cast<const char*>(&module_runtime()), sizeof(Runtime)}};
  for (const Range& range : own)
    if (range.contains(address)) return true;
  return false;
}

bool Runner::in_lds(const void* address, std::size_t* offset) const {
  *offset = static_cast<std::size_t>(static_cast<const char*>(address) - static_cast<char*>(workgroup_.lds));
  return *offset < launch_->lds_bytes + kLdsRedZone;
}

const Allocation* Runner::find_allocation(const void* address) {
  for (const Allocation* const allocation : found_)
    if (allocation != nullptr && Range{allocation->base, allocation->bytes}.contains(address)) return allocation;
  const Allocation* const allocation = memory().find(address);
  if (allocation != nullptr) found_[next_found_++ % std::size(found_)] = allocation;
  return allocation;
}

}  // namespace moesort_host
