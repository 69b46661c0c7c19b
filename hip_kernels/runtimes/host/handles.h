// The objects behind HIP's opaque handles. A handle that was never given out, or was destroyed, is not found, so that a
// caller's mistake is an error code and not a crash.
#pragma once
#include <cstddef>
#include <memory>

namespace moesort_host {

// Of any type, so that the table is compiled once. Not thread-safe: calls are serialised by api.h.
class HandleTable {
 public:
  HandleTable();
  void add(std::shared_ptr<void> object);
  std::shared_ptr<void> find(const void* handle) const;
  bool remove(const void* handle);
  std::size_t size() const;

 private:
  struct Objects;
  Objects* objects_;  // never freed: the table lives as long as the process
};

template <typename Object>
class Handles {
 public:
  Object* add(const std::shared_ptr<Object>& object) {
    table_.add(object);
    return object.get();
  }
  std::shared_ptr<Object> find(const void* handle) const {
    return std::static_pointer_cast<Object>(table_.find(handle));
  }
  bool remove(const void* handle) { return table_.remove(handle); }
  std::size_t size() const { return table_.size(); }

 private:
  HandleTable table_;
};

// The handles of one type.
template <typename Object>
Handles<Object>& handles() {
  static Handles<Object>& instance = *new Handles<Object>;
  return instance;
}

}  // namespace moesort_host
