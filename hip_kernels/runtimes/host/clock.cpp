#include "clock.h"

#include <time.h>

#include <cmath>

#include "devices.h"
#include "fault.h"
#include "settings.h"

namespace moesort_host {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

double monotonic_us() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

}  // namespace

Clock::Clock(const std::string& rules, double noise, std::uint64_t seed) : noise_(noise), random_(seed) {
  std::size_t begin = 0;
  while (begin < rules.size()) {
    const std::size_t end = std::min(rules.find(';', begin), rules.size());
    const std::string rule = trimmed(rules.substr(begin, end - begin));
    if (!rule.empty()) add_rule(rule);
    begin = end + 1;
  }
}

void Clock::add_rule(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    record_configuration_error("MOESORT_HOST_CLOCK must be kernel=formula[;...] (got '" + text + "')");
    return;
  }
  std::string error;
  Formula formula = Formula::parse(trimmed(text.substr(equals + 1)), &error);
  if (!error.empty())
    record_configuration_error("MOESORT_HOST_CLOCK: " + error + " in '" + text + "'");
  else
    rules_.push_back({trimmed(text.substr(0, equals)), std::move(formula)});
}

// The exact name wins, then the longest prefix.
const Clock::Rule* Clock::find_rule(const std::string& kernel) const {
  const Rule* best = nullptr;
  for (const Rule& rule : rules_) {
    if (rule.kernel == kernel) return &rule;
    if (rule.kernel.back() != '*') continue;
    const std::size_t length = rule.kernel.size() - 1;
    if (kernel.compare(0, length, rule.kernel, 0, length) != 0) continue;
    if (best == nullptr || best->kernel.size() < rule.kernel.size()) best = &rule;
  }
  return best;
}

double Clock::now_us() const { return is_virtual() ? now_us_ : monotonic_us(); }

double Clock::launch_us(const std::string& kernel, const LaunchShape& shape) {
  auto found = kernels_.find(kernel);
  if (found == kernels_.end()) found = kernels_.emplace(kernel, Kernel{find_rule(kernel), 0}).first;
  Kernel& timed = found->second;
  const double launches = timed.launches++;
  if (timed.rule == nullptr) return 0;
  const double units = current_device().compute_units;
  return timed.rule->formula.evaluate({shape.tokens, shape.experts, shape.topk, launches, units});
}

void Clock::advance(double duration_us) {
  double factor = 1;
  if (noise_ != 0) {
    // Box and Muller's normal deviate, as the exponent, so that no time is negative.
    const double radius = std::sqrt(-2 * std::log(random_.fraction()));
    factor = std::exp(noise_ * radius * std::cos(2 * kPi * random_.fraction()));
  }
  now_us_ += duration_us * factor * current_device().slowdown;
}

Clock& clock() {
  static Clock& instance = *new Clock(settings().clock, settings().clock_noise, settings().clock_seed);
  return instance;
}

}  // namespace moesort_host
