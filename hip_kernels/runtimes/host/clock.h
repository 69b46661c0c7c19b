// What event times are read from: the machine's clock, or with MOESORT_HOST_CLOCK a virtual one that every launch
// advances by its formula.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "abi.h"
#include "formula.h"
#include "random.h"

namespace moesort_host {

class Clock {
 public:
  Clock(const std::string& rules, double noise, std::uint64_t seed);

  bool is_virtual() const { return !rules_.empty(); }
  double now_us() const;

  // The microseconds of the kernel's next launch, which is hereby counted. 0 when no rule is for it.
  double launch_us(const std::string& kernel, const LaunchShape& shape);

  // Moves the virtual clock on, with noise.
  void advance(double duration_us);

 private:
  struct Rule {
    std::string kernel;  // exact, or a prefix with a trailing *
    Formula formula;
  };
  struct Kernel {
    const Rule* rule;
    double launches;
  };
  void add_rule(const std::string& text);
  const Rule* find_rule(const std::string& kernel) const;

  std::vector<Rule> rules_;
  std::map<std::string, Kernel> kernels_;
  double noise_;
  Random random_;
  double now_us_ = 0;
};

Clock& clock();

}  // namespace moesort_host
