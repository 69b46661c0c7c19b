#include "source_place.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "prelude.h"
#include "process.h"

namespace moesort_host {
namespace {

// Modules are loaded from /proc/self/fd/N; another process finds them by our number.
std::string path_for_others(const std::string& path) {
  const std::string own = "/proc/self/";
  if (path.compare(0, own.size(), own) != 0) return path;
  return "/proc/" + std::to_string(getpid()) + "/" + path.substr(own.size());
}

// One line of addr2line's answer, "folder/./file:line", without what the reader does not know. Empty for "??:0".
std::string readable(const std::string& line) {
  const std::string place = line.substr(0, line.find(' '));
  if (place.find('?') != std::string::npos) return "";
  const std::size_t relative = place.rfind("./");
  return relative == std::string::npos ? place : place.substr(relative + 2);
}

// The innermost place that is not in the built-ins; the functions it was inlined into follow in the answer.
std::string ask_addr2line(const std::string& library, const std::string& offset) {
  const std::string program = find_program("addr2line");
  std::string answer;
  if (program.empty() || run_program({program, "-i", "-e", library, offset}, "/", &answer) != 0) return "";
  std::string place;
  for (std::size_t begin = 0; begin < answer.size();) {
    const std::size_t end = std::min(answer.find('\n', begin), answer.size());
    place = readable(answer.substr(begin, end - begin));
    if (place.compare(0, std::strlen(kPreludeFile), kPreludeFile) != 0) break;
    begin = end + 1;
  }
  return place;
}

}  // namespace

std::string source_place(const void* code) {
  Dl_info found;
  if (dladdr(code, &found) == 0) return "unknown code";
  const auto distance = static_cast<const char*>(code) - static_cast<const char*>(found.dli_fbase);
  char offset[32];
  std::snprintf(offset, sizeof offset, "0x%tx", distance);
  const std::string place = ask_addr2line(path_for_others(found.dli_fname), offset);
  return place.empty() ? std::string("code offset ") + offset : place;
}

}  // namespace moesort_host
