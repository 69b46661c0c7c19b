#include "settings.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "fault.h"

namespace moesort_host {
namespace {

constexpr unsigned kMaxThreads = 256;
// More cores than this do not pay: the kernels' grids are small, and every core keeps stacks for 1024 fibers.
constexpr unsigned kDefaultMaxThreads = 16;

const char* variable(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr || *text == '\0' ? nullptr : text;
}

void report_bad_value(const char* name, const char* text, const std::string& expected) {
  record_configuration_error(std::string(name) + " must be " + expected + " (got '" + text + "')");
}

std::uint64_t whole_number(const char* name, std::uint64_t otherwise, std::uint64_t least, std::uint64_t most) {
  const char* const text = variable(name);
  if (text == nullptr) return otherwise;
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || errno == ERANGE || value < least || value > most) {
    report_bad_value(name, text, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return otherwise;
  }
  return value;
}

double fraction(const char* name) {
  const char* const text = variable(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 1)) {
    report_bad_value(name, text, "a number from 0 to 1");
    return 0;
  }
  return value;
}

std::string words(const char* name) {
  const char* const text = variable(name);
  return text == nullptr ? "" : text;
}

unsigned wave_size() {
  const std::uint64_t lanes = whole_number("MOESORT_HOST_WAVEFRONT_SIZE", 64, 32, 64);
  if (lanes == 32 || lanes == 64) return static_cast<unsigned>(lanes);
  report_bad_value("MOESORT_HOST_WAVEFRONT_SIZE", variable("MOESORT_HOST_WAVEFRONT_SIZE"), "32 or 64");
  return 64;
}

Settings read_settings() {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  Settings result;
  result.shuffled = variable("MOESORT_HOST_SEED") != nullptr;
  result.seed = whole_number("MOESORT_HOST_SEED", 0, 0, UINT64_MAX);
  result.compute_units = static_cast<unsigned>(whole_number("MOESORT_HOST_COMPUTE_UNITS", cores, 1, 1 << 16));
  result.devices = words("MOESORT_HOST_DEVICES");
  result.wave_size = wave_size();
  result.lds_bytes = static_cast<unsigned>(whole_number("MOESORT_HOST_LDS_BYTES", 65536, 1024, 1 << 20));
  result.threads =
      static_cast<unsigned>(whole_number("MOESORT_HOST_THREADS", std::min(cores, kDefaultMaxThreads), 1, kMaxThreads));
  result.checked = whole_number("MOESORT_HOST_CHECK", 0, 0, 1) == 1;
  result.clock = words("MOESORT_HOST_CLOCK");
  result.clock_noise = fraction("MOESORT_HOST_CLOCK_NOISE");
  result.clock_seed = whole_number("MOESORT_HOST_CLOCK_SEED", 0, 0, UINT64_MAX);
  result.failures = words("MOESORT_HOST_FAIL");
  result.launch_log = words("MOESORT_HOST_LAUNCH_LOG");
  return result;
}

}  // namespace

const Settings& settings() {
  // Never destroyed: threads of the pool may still read it while the process exits.
  static const Settings& instance = *new Settings(read_settings());
  return instance;
}

}  // namespace moesort_host
