// MOESORT_HOST_FAIL="hipMalloc:3:2,hipGraphLaunch:1:719": the third hipMalloc returns 2, the first hipGraphLaunch
// 719. For tests of what a caller does with an error.
#pragma once
#include <mutex>
#include <string>
#include <vector>

namespace moesort_host {

class Failures {
 public:
  explicit Failures(const std::string& text);

  // Counts a call of `name`; the code it must return, or 0.
  int next(const char* name);

 private:
  struct Rule {
    std::string name;
    long nth;
    int code;
    long calls = 0;
  };
  bool add_rule(const std::string& text);

  std::mutex mutex_;
  std::vector<Rule> rules_;
};

Failures& failures();

}  // namespace moesort_host
