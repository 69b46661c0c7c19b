#include "devices.h"

#include <cstdlib>
#include <sstream>

#include "fault.h"
#include "settings.h"

namespace moesort_host {
namespace {

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
constexpr int kMostBuses = 255;
constexpr unsigned kMostUnits = 1 << 16;
constexpr double kLargest = 1e6;

int current = 0;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    const std::size_t first = part.find_first_not_of(" \t\n");
    if (first != std::string::npos) parts.push_back(part.substr(first, part.find_last_not_of(" \t\n") - first + 1));
  }
  return parts;
}

void refuse(const std::string& text) {
  record_configuration_error(
      "MOESORT_HOST_DEVICES must be units=N[,slowdown=X][,bus=N][,used=GIB] for each device, separated by ';' (got '" +
      text + "')");
}

// Whether `text` is a number of the key's range, which `device` then has.
bool set_field(const std::string& text, HostDevice* device) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return false;
  const std::string key = text.substr(0, equals);
  char* end = nullptr;
  const double value = std::strtod(text.c_str() + equals + 1, &end);
  if (end == text.c_str() + equals + 1 || *end != '\0' || !(value >= 0 && value <= kLargest)) return false;
  if (key == "units" && value >= 1 && value <= kMostUnits)
    device->compute_units = static_cast<unsigned>(value);
  else if (key == "slowdown" && value > 0)
    device->slowdown = value;
  else if (key == "bus" && value >= 1 && value <= kMostBuses)
    device->bus = static_cast<int>(value);
  else if (key == "used")
    device->used_bytes = value * kGib;
  else
    return false;
  return true;
}

std::vector<HostDevice> describe_all() {
  std::vector<HostDevice> all;
  for (const std::string& text : split(settings().devices, ';')) {
    HostDevice device{settings().compute_units, 1, static_cast<int>(all.size()) + 1, 0};
    for (const std::string& field : split(text, ','))
      if (!set_field(field, &device)) refuse(text);
    all.push_back(device);
  }
  return all;
}

// As HIP does it: an entry that is no number of a device ends the list.
std::vector<HostDevice> select_visible(const std::vector<HostDevice>& all) {
  const char* text = std::getenv("HIP_VISIBLE_DEVICES");
  if (text == nullptr) text = std::getenv("CUDA_VISIBLE_DEVICES");
  if (text == nullptr) return all;
  std::vector<HostDevice> visible;
  for (const std::string& entry : split(text, ',')) {
    char* end = nullptr;
    const unsigned long number = std::strtoul(entry.c_str(), &end, 10);
    if (*end != '\0' || number >= all.size()) break;
    visible.push_back(all[number]);
  }
  return visible;
}

std::vector<HostDevice> list_devices() {
  if (settings().devices.empty()) return {HostDevice{settings().compute_units}};
  return select_visible(describe_all());
}

}  // namespace

const std::vector<HostDevice>& devices() {
  static const std::vector<HostDevice>& instance = *new std::vector<HostDevice>(list_devices());
  return instance;
}

const HostDevice& current_device() {
  static const HostDevice& none = *new HostDevice{settings().compute_units};
  return devices().empty() ? none : devices()[static_cast<std::size_t>(current)];
}

int current_ordinal() { return current; }

bool set_current(int ordinal) {
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= devices().size()) return false;
  current = ordinal;
  return true;
}

}  // namespace moesort_host
