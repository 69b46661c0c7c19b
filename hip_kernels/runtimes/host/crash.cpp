#include "crash.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>

#include "memory.h"
#include "runner.h"

namespace moesort_host {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr std::size_t kHandlerStackBytes = 128 << 10;

struct sigaction previous_actions[sizeof kSignals / sizeof *kSignals];

// The handler needs a stack of its own: the kernel's may be what has overflowed.
class HandlerStack {
 public:
  HandlerStack() {
    memory_ = mmap(nullptr, kHandlerStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) return;
    stack_t stack = {};
    stack.ss_sp = memory_;
    stack.ss_size = kHandlerStackBytes;
    sigaltstack(&stack, &before_);
  }
  ~HandlerStack() {
    if (memory_ == MAP_FAILED) return;
    sigaltstack(&before_, nullptr);
    munmap(memory_, kHandlerStackBytes);
  }
  HandlerStack(const HandlerStack&) = delete;
  HandlerStack& operator=(const HandlerStack&) = delete;

 private:
  void* memory_;
  stack_t before_ = {};
};

const void* program_counter(const void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return reinterpret_cast<const void*>(machine.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<const void*>(machine.pc);
#else
  (void)machine;
  return nullptr;
#endif
}

std::string describe(const Runner& runner, int signal, const void* address) {
  if (signal == SIGFPE) return "divides by zero";
  if (signal == SIGILL) return "comes to an instruction that this processor does not have";
  unsigned lane = 0;
  if (runner.stacks().in_trap(address, &lane))
    return "needs more than the " + std::to_string(runner.stacks().bytes(lane)) + " bytes of stack that a thread has";
  std::size_t offset = 0;
  if (runner.in_lds(address, &offset))
    return "accesses offset " + std::to_string(offset) + " of LDS, but the launch has " +
           std::to_string(runner.launch()->lds_bytes) + " bytes";
  return "accesses " + memory().describe(address);
}

void pass_on(int signal, siginfo_t* info, void* context) {
  std::size_t i = 0;
  while (kSignals[i] != signal) ++i;
  const struct sigaction& previous = previous_actions[i];
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  sigaction(signal, &previous, nullptr);  // the instruction runs again, and now ends the process
}

void on_signal(int signal, siginfo_t* info, void* context) {
  Runner* const runner = this_threads_runner;
  if (runner == nullptr || !runner->in_kernel()) return pass_on(signal, info, context);
  runner->fail(describe(*runner, signal, info->si_addr), program_counter(context));
}

bool install_handlers() {
  struct sigaction action = {};
  action.sa_sigaction = &on_signal;
  // Not blocked while handled, since the handler does not return.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (std::size_t i = 0; i < sizeof kSignals / sizeof *kSignals; ++i)
    sigaction(kSignals[i], &action, &previous_actions[i]);
  return true;
}

}  // namespace

CrashGuard::CrashGuard(Runner& runner) {
  static const bool installed = install_handlers();
  (void)installed;
  static thread_local HandlerStack stack;
  this_threads_runner = &runner;
}

CrashGuard::~CrashGuard() { this_threads_runner = nullptr; }

}  // namespace moesort_host
