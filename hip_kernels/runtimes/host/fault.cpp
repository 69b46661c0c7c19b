#include "fault.h"

#include <atomic>
#include <cstdio>

namespace moesort_host {
namespace {

// The first sentence since the last clear. Sentences are never freed: a caller may hold the last one.
class Sentence {
 public:
  void set(const std::string& text) {
    const auto* const wanted = new std::string(text);
    const std::string* none = nullptr;
    if (text_.compare_exchange_strong(none, wanted))
      std::fprintf(stderr, "moesort-tune host runtime: %s\n", text.c_str());
    else
      delete wanted;
  }
  void clear() { text_ = nullptr; }
  const std::string* get() const { return text_; }

 private:
  std::atomic<const std::string*> text_{nullptr};
};

Sentence fault;
Sentence configuration_error;

}  // namespace

void record_fault(const std::string& sentence) { fault.set(sentence); }

bool faulted() { return fault.get() != nullptr; }

void clear_fault() { fault.clear(); }

void record_configuration_error(const std::string& sentence) { configuration_error.set(sentence); }

bool configuration_failed() { return configuration_error.get() != nullptr; }

}  // namespace moesort_host

extern "C" const char* moesort_host_last_fault() {
  const std::string* sentence = moesort_host::configuration_error.get();
  if (sentence == nullptr) sentence = moesort_host::fault.get();
  return sentence == nullptr ? "" : sentence->c_str();
}
