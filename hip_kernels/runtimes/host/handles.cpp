#include "handles.h"

#include <unordered_map>

namespace moesort_host {

struct HandleTable::Objects : std::unordered_map<const void*, std::shared_ptr<void>> {};

HandleTable::HandleTable() : objects_(new Objects) {}

void HandleTable::add(std::shared_ptr<void> object) {
  const void* const handle = object.get();
  (*objects_)[handle] = std::move(object);
}

std::shared_ptr<void> HandleTable::find(const void* handle) const {
  const auto found = objects_->find(handle);
  return found == objects_->end() ? nullptr : found->second;
}

bool HandleTable::remove(const void* handle) { return objects_->erase(handle) != 0; }

std::size_t HandleTable::size() const { return objects_->size(); }

}  // namespace moesort_host
