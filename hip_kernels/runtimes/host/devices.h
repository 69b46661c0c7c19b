// The devices that this process sees: the machine's cores as one, or as MOESORT_HOST_DEVICES describes several.
#pragma once
#include <string>
#include <vector>

namespace moesort_host {

struct HostDevice {
  unsigned compute_units = 0;
  double slowdown = 1;    // factor of all times of the virtual clock
  int bus = 0;            // of the PCI address; 0: none
  double used_bytes = 0;  // memory that something else seems to hold
};

// Those that HIP_VISIBLE_DEVICES, or without it CUDA_VISIBLE_DEVICES, leaves of
// MOESORT_HOST_DEVICES; one without that variable, whatever those say.
const std::vector<HostDevice>& devices();

// The device that hipSetDevice chose last, for the whole process.
const HostDevice& current_device();
int current_ordinal();
bool set_current(int ordinal);

}  // namespace moesort_host
