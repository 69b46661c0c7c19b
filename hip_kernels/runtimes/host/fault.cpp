#include "fault.h"

#include <atomic>
#include <cstdio>
#include <mutex>

namespace moesort_host {
namespace {

std::mutex& fault_mutex() {
  static std::mutex& instance = *new std::mutex;
  return instance;
}

// Sentences are never freed: a caller may hold the last one.
std::atomic<const std::string*> current_fault{nullptr};

}  // namespace

void record_fault(const std::string& sentence) {
  const std::lock_guard<std::mutex> lock(fault_mutex());
  if (current_fault != nullptr) return;
  current_fault = new std::string(sentence);
  std::fprintf(stderr, "moesort-tune host runtime: %s\n", sentence.c_str());
}

bool faulted() { return current_fault != nullptr; }

void clear_fault() { current_fault = nullptr; }

}  // namespace moesort_host

extern "C" const char* moesort_host_last_fault() {
  const std::string* const sentence = moesort_host::current_fault;
  return sentence == nullptr ? "" : sentence->c_str();
}
