// A small seeded generator (Steele, Lea and Flood's SplitMix64), the same on every machine.
#pragma once
#include <cstdint>
#include <utility>

namespace moesort_host {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // A number below `end`. The bias of the remainder does not matter for the few thousand choices made here.
  std::uint64_t below(std::uint64_t end) { return next() % end; }

  // Uniform in (0, 1].
  double fraction() { return static_cast<double>((next() >> 11) + 1) * 0x1p-53; }

  template <typename Item>
  void shuffle(Item* items, std::uint64_t count) {
    for (std::uint64_t i = count; i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t state_;
};

}  // namespace moesort_host
