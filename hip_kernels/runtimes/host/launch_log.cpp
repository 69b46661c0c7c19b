#include "launch_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fault.h"
#include "settings.h"

namespace moesort_host {
namespace {

int open_log() {
  const std::string& path = settings().launch_log;
  if (path.empty()) return -1;
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0)
    record_configuration_error("MOESORT_HOST_LAUNCH_LOG: cannot open '" + path + "': " + std::strerror(errno));
  return file;
}

std::string product(const Index3& size) {
  return std::to_string(size.x) + "x" + std::to_string(size.y) + "x" + std::to_string(size.z);
}

}  // namespace

int launch_log() {
  static const int file = open_log();
  return file;
}

void log_launch(const KernelLaunch& launch) {
  const int file = launch_log();
  if (file < 0) return;
  const std::string line = std::string(launch.kernel->name) + " " + product(launch.grid) + " " + product(launch.block) +
                           " " + std::to_string(launch.lds_bytes) + "\n";
  if (write(file, line.data(), line.size()) < 0)
    record_configuration_error("MOESORT_HOST_LAUNCH_LOG: cannot write '" + settings().launch_log + "'");
}

}  // namespace moesort_host
