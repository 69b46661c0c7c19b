#include "launch.h"

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "crash.h"
#include "settings.h"

namespace moesort_host {
namespace {

// A launch's workgroups, taken by the cores one at a time.
class Queue {
 public:
  explicit Queue(Launch& launch)
      : launch_(launch), count_(std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z) {
    if (!launch.shuffled) return;
    order_.resize(count_);
    for (std::uint64_t i = 0; i < count_; ++i) order_[i] = i;
    Random(launch.seed).shuffle(order_.data(), count_);
  }

  std::uint64_t count() const { return count_; }

  void work(Runner& runner) {
    const CrashGuard guard(runner);
    while (!launch_.failed) {
      const std::uint64_t next = next_.fetch_add(1, std::memory_order_relaxed);
      if (next >= count_) return;
      runner.run(launch_, order_.empty() ? next : order_[next]);
    }
  }

 private:
  Launch& launch_;
  std::uint64_t count_;
  std::vector<std::uint64_t> order_;
  std::atomic<std::uint64_t> next_{0};
};

// The cores beside the caller's. Threads are started when first needed and never end: joining them while the
// process exits could wait for ever.
class Pool {
 public:
  void run(Queue& queue) {
    const std::uint64_t helpers = std::min<std::uint64_t>(queue.count(), settings().threads) - 1;
    if (helpers != 0) wake(queue, static_cast<unsigned>(helpers));
    queue.work(runner_);
    if (helpers != 0) wait();
  }

 private:
  void wake(Queue& queue, unsigned helpers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    start_threads(helpers);
    queue_ = &queue;
    wanted_ = busy_ = helpers;
    ++generation_;
    work_.notify_all();
  }

  // The process's signals are for its own threads, not for a kernel's stack. A kernel's faults are the thread's.
  void start_threads(unsigned wanted) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, fault);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; threads_ < wanted; ++threads_) std::thread(&Pool::help, this, threads_).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

  void help(unsigned index) {
    Runner runner;
    std::uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (index >= wanted_) continue;
      lock.unlock();
      queue_->work(runner);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  Runner runner_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  Queue* queue_ = nullptr;
  unsigned threads_ = 0;
  unsigned wanted_ = 0;
  unsigned busy_ = 0;
  std::uint64_t generation_ = 0;
};

Pool* pool = nullptr;

// A forked child has none of its parent's threads: it starts its own.
Pool& this_process_pool() {
  static const bool registered = pthread_atfork(nullptr, nullptr, [] { pool = nullptr; }) == 0;
  (void)registered;
  if (pool == nullptr) pool = new Pool;
  return *pool;
}

void wait_at_barrier(const char* operation, const char* file, int line) {
  this_threads_runner->arrive(Wait::kBarrier, operation, file, line);
}

void exchange_in_wave(Lane* lane, const char* operation, const char* file, int line, unsigned long long value) {
  this_threads_runner->exchange(*lane, operation, file, line, value);
}

}  // namespace

void run_workgroups(Launch& launch) {
  Queue queue(launch);
  this_process_pool().run(queue);
}

const Runtime& module_runtime() {
  static const Runtime runtime = {&wait_at_barrier, &exchange_in_wave, &check_access, &std::memset, &std::memmove};
  return runtime;
}

}  // namespace moesort_host
