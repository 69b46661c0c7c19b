// What the environment variables MOESORT_HOST_* ask for; README.md lists them.
#pragma once
#include <cstdint>
#include <string>

namespace moesort_host {

struct Settings {
  bool shuffled = false;
  std::uint64_t seed = 0;
  unsigned compute_units = 0;
  std::string devices;  // empty: one
  unsigned wave_size = 64;
  unsigned lds_bytes = 65536;
  unsigned threads = 0;
  bool checked = false;
  std::string clock;  // empty: the machine's own clock
  double clock_noise = 0;
  std::uint64_t clock_seed = 0;
  std::string failures;
  std::string launch_log;
};

// Read once, at the first call. Wrong values are told by record_configuration_error.
const Settings& settings();

}  // namespace moesort_host
