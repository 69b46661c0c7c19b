// Turns a processor's fault in a kernel (a wild address, an overflowed stack, a division by zero) into the launch's
// failure, where it would end the process.
#pragma once

namespace moesort_host {

class Runner;

// While one exists, this thread is the runner's, and faults in it are the kernel's.
class CrashGuard {
 public:
  explicit CrashGuard(Runner& runner);
  ~CrashGuard();
  CrashGuard(const CrashGuard&) = delete;
  CrashGuard& operator=(const CrashGuard&) = delete;
};

}  // namespace moesort_host
