// The objects behind HIP's opaque handles. A handle that was never given out, or was destroyed, is not found, so
// that a caller's mistake is an error code and not a crash.
#pragma once
#include <memory>
#include <unordered_map>

namespace moesort_host {

template <typename Object>
class Handles {
 public:
  Object* add(std::shared_ptr<Object> object) {
    Object* const handle = object.get();
    objects_[handle] = std::move(object);
    return handle;
  }

  std::shared_ptr<Object> find(const void* handle) const {
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }

  bool remove(const void* handle) { return objects_.erase(handle) != 0; }

 private:
  std::unordered_map<const void*, std::shared_ptr<Object>> objects_;
};

template <typename Object>
Handles<Object>& handles() {
  static Handles<Object>& instance = *new Handles<Object>;
  return instance;
}

}  // namespace moesort_host
