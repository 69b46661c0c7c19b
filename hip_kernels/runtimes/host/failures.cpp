#include "failures.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

#include "fault.h"
#include "settings.h"

namespace moesort_host {
namespace {

// A misspelt name would never fail, and a test with it never notice.
bool is_exported(const std::string& name) {
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&is_exported), &self) == 0) return true;
  void* const library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return true;
  const bool found = dlsym(library, name.c_str()) != nullptr;
  dlclose(library);
  return found;
}

bool is_call(const std::string& name) { return name.compare(0, 3, "hip") == 0 && is_exported(name); }

}  // namespace

Failures::Failures(const std::string& text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = text.find(',', begin);
    if (end == std::string::npos) end = text.size();
    const std::string rule = text.substr(begin, end - begin);
    if (!add_rule(rule))
      record_configuration_error("MOESORT_HOST_FAIL must be call:nth:code[,...] with a call of this runtime (got '" +
                                 rule + "')");
    begin = end + 1;
  }
}

bool Failures::add_rule(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return false;
  Rule rule{text.substr(0, colon), 0, 0};
  char* end = nullptr;
  rule.nth = std::strtol(text.c_str() + colon + 1, &end, 10);
  if (*end != ':') return false;
  const long code = std::strtol(end + 1, &end, 10);
  if (*end != '\0' || rule.nth < 1 || code < 1 || code > INT32_MAX || !is_call(rule.name)) return false;
  rule.code = static_cast<int>(code);
  rules_.push_back(rule);
  return true;
}

int Failures::next(const char* name) {
  if (rules_.empty()) return 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  int code = 0;
  for (Rule& rule : rules_)
    if (rule.name == name && ++rule.calls == rule.nth) code = rule.code;
  return code;
}

Failures& failures() {
  static Failures& instance = *new Failures(settings().failures);
  return instance;
}

}  // namespace moesort_host
