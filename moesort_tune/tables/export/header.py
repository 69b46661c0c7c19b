"""The text of the header that cpp.py fills in: C++17 without dependencies, usable at compile time."""

from string import Template
from typing import Final

HEADER: Final = Template("""\
// Which sorting kernel to run: ${policies_in_words}. Decides as moesort_tune.runtime does, by ${evidence}.
// Written by `moesort-tune export --format cpp`; do not edit.
${about}
#ifndef MOESORT_${guard}
#define MOESORT_${guard}

namespace ${namespace} {

// Candidates are numbered in their order, from 0; kPolicies holds the policy of each.
inline constexpr int kPolicies[] = {${policies}};
constexpr int kCandidates = ${candidate_count};
constexpr int kForNoTokens = ${for_no_tokens};
static_assert(kCandidates <= 32, "a row has a bit for each of them");

struct Step {
  int first_tokens;
  int candidate;
};

// limits: largest token count of each candidate on the entry's device; [1] for a mask with one entry more than experts.
// first_tokens, end_tokens: what was measured. lost_below, lost_above: a bit for each candidate that lost there to one
// before it, or after it. turns: alike where rows take the same candidates one after another.
struct Row {
  int limits[2][kCandidates];
  int first_tokens, end_tokens;
  unsigned lost_below, lost_above;
  int turns;
  int first_step, end_step;
};

// The shapes of one topk, by experts.
struct Group {
  int first_shape, end_shape;
};

// The shapes of an entry's rows, by topk. Entries of the same shapes share it.
struct Grid {
  int first_group, end_group;
};

// The rows of one device and condition: that of shape i is kRows[i + row_offset]. moe_buf, masked: of the calls that
// were timed. device_ids: the PCI device id of the GPU that was measured, then those by which its product may be seen
// as well, as a virtual function; 0 where there is none.
struct Entry {
  int lds_bytes;
  int wavefront_size;
  int grid;
  int row_offset;
  bool moe_buf, masked;
  unsigned device_ids[${id_count}];
};

inline constexpr Step kSteps[] = {
${steps}
};
// What shapes, groups and sizes are found by, apart from them so that a search stays in few cache lines.
inline constexpr int kShapeExperts[] = {${shape_experts}};
inline constexpr int kGroupTopks[] = {${group_topks}};
inline constexpr int kSizeUnits[] = {${size_units}};

inline constexpr Group kGroups[] = {
${groups}
};
inline constexpr Grid kGrids[] = {${grids}};
inline constexpr Row kRows[] = {
${rows}
};
inline constexpr Entry kEntries[] = {
${entries}
};

// The entries of one number of compute units, the newest first. usual: the best one for a call on an unknown product,
// by 2 * moe_buf + masked. grids: how many of them the entries have.
struct Size {
  int first_entry, end_entry;
  int grids;
  int usual[4];
};

inline constexpr Size kSizes[] = {
${sizes}
};
constexpr int kSizeCount = ${size_count};

${limits}
// The provider's own rule, which decides where nothing was measured.
${rule}
// First index in [first, end) whose value, ascending there, is not below `wanted`; `end` if all are.
constexpr int lower_bound(const int* values, int first, int end, int wanted) {
  while (first < end) {
    const int middle = (first + end) / 2;
    const bool below = values[middle] < wanted;
    first = below ? middle + 1 : first;
    end = below ? end : middle;
  }
  return first;
}

// Index in [first, end) whose value, ascending there, is nearest to `wanted` by ratio; on a tie the smaller one.
constexpr int nearest(const int* values, int first, int end, int wanted) {
  const int above = lower_bound(values, first, end, wanted);
  if (above == first) return first;
  if (above == end) return end - 1;
  const long long low = values[above - 1], high = values[above];
  return static_cast<long long>(wanted) * wanted <= low * high ? above - 1 : above;
}

struct Call {
  int tokens, num_experts, topk;
  bool moe_buf, masked;
};

// Where a grid holds a shape, or what is nearest. above: the first shape of the group whose experts are no fewer.
struct Place {
  Group group;
  int above;
  int exact;      // the shape itself, -1 without it
  bool sentinel;  // which a mask has one entry more than
};

constexpr Place find(const Grid& grid, const Call& call) {
  const int used = nearest(kGroupTopks, grid.first_group, grid.end_group, call.topk);
  const Group& group = kGroups[used];
  const int above = lower_bound(kShapeExperts, group.first_shape, group.end_shape, call.num_experts);
  const bool has_topk = kGroupTopks[used] == call.topk;
  if (has_topk && above < group.end_shape && kShapeExperts[above] == call.num_experts) {
    return {group, above, above, false};
  }
  const bool sentinel = has_topk && call.masked && above > group.first_shape &&
                        kShapeExperts[above - 1] == call.num_experts - 1;
  return {group, above, sentinel ? above - 1 : -1, sentinel};
}

constexpr int candidate_at(const Row& row, int tokens) {
  int step = row.first_step;
  while (step + 1 < row.end_step && kSteps[step + 1].first_tokens <= tokens) ++step;
  return kSteps[step].candidate;
}

// The choice of two rows of the same turns: each step begins between theirs, `below` experts past the low row's and
// `above` short of the high row's.
constexpr int interpolated_at(const Row& low, const Row& high, int tokens, long long below, long long above) {
  int step = 0;
  for (int next = 1; low.first_step + next < low.end_step; ++next) {
    const long long first_low = kSteps[low.first_step + next].first_tokens;
    const long long first_high = kSteps[high.first_step + next].first_tokens;
    if ((first_low * above + first_high * below) / (below + above) > tokens) break;
    step = next;
  }
  return kSteps[low.first_step + step].candidate;
}

// Which candidates may sort the call's tokens: by the limits of the shape's own row, else by those of the shape.
struct Legal {
  const Call& call;
  const Entry& entry;
  const int* limits;

  constexpr bool allow(int candidate) const {
    return call.tokens <= (limits != nullptr ? limits[candidate]
                                             : max_tokens(candidate, call.num_experts, call.topk, entry.lds_bytes,
                                                          entry.wavefront_size));
  }

  // The candidate if it may, else the next in order that may, else an earlier one, else the last.
  constexpr int next_legal(int candidate) const {
    if (allow(candidate)) return candidate;
    for (int next = candidate + 1; next < kCandidates; ++next) {
      if (allow(next)) return next;
    }
    for (int next = 0; next < candidate; ++next) {
      if (allow(next)) return next;
    }
    return kCandidates - 1;
  }

  // Of two choices that of the provider's rule, if it is one of them and may, else the first in order that may, else
  // what comes next.
  constexpr int first_legal(int one, int other) const {
    if (one == other) return next_legal(one);
    const int wanted = rule(call.tokens, call.num_experts, call.topk, call.moe_buf, call.masked);
    if ((wanted == one || wanted == other) && allow(wanted)) return wanted;
    const int first = one < other ? one : other, second = one < other ? other : one;
    return !allow(first) && allow(second) ? second : next_legal(first);
  }

  // What the provider's rule says, else the nearest that may and has not lost: above what was measured a later one in
  // order before an earlier one, below it an earlier one first. If all that may have lost, the nearest of them.
  constexpr int beyond(bool above, unsigned lost) const {
    const int wanted = rule(call.tokens, call.num_experts, call.topk, call.moe_buf, call.masked);
    const int ahead = above ? 1 : -1;
    int nearest_lost = -1;
    for (int step = ahead, next = wanted, turned = 0; turned < 2;) {
      if (next < 0 || next >= kCandidates) {
        step = -step;
        next = wanted + step;
        ++turned;
        continue;
      }
      if (allow(next)) {
        if (((lost >> next) & 1U) == 0) return next;
        if (nearest_lost < 0) nearest_lost = next;
      }
      next += step;
    }
    return nearest_lost < 0 ? kCandidates - 1 : nearest_lost;
  }
};

constexpr int choose_by_row(const Row& row, const Legal& legal) {
  const int tokens = legal.call.tokens;
  if (tokens >= row.end_tokens) return legal.beyond(true, row.lost_above);
  if (tokens < row.first_tokens) return legal.beyond(false, row.lost_below);
  return legal.next_legal(candidate_at(row, tokens));
}

// Between two rows only the token counts that both were measured on count.
constexpr int choose_by_rows(const Row& low, const Row& high, const Legal& legal, int below, int above) {
  const int tokens = legal.call.tokens;
  if (tokens >= low.end_tokens || tokens >= high.end_tokens) {
    return legal.beyond(true, low.lost_above | high.lost_above);
  }
  if (tokens < low.first_tokens || tokens < high.first_tokens) {
    return legal.beyond(false, low.lost_below | high.lost_below);
  }
  if (low.turns == high.turns) return legal.next_legal(interpolated_at(low, high, tokens, below, above));
  return legal.first_legal(candidate_at(low, tokens), candidate_at(high, tokens));
}

constexpr int choose(const Call& call, const Entry& entry, const Place& place) {
  const Row* row = place.exact < 0 ? nullptr : &kRows[place.exact + entry.row_offset];
  const Legal legal = {call, entry, row == nullptr ? nullptr : row->limits[place.sentinel ? 1 : 0]};
  if (call.tokens == 0) return legal.next_legal(kForNoTokens);
  if (row != nullptr) return choose_by_row(*row, legal);
  const int above = place.above == place.group.end_shape ? place.above - 1 : place.above;
  const Row& high = kRows[above + entry.row_offset];
  const int experts = kShapeExperts[above];
  if (experts <= call.num_experts || above == place.group.first_shape) return choose_by_row(high, legal);
  return choose_by_rows(kRows[above - 1 + entry.row_offset], high, legal, call.num_experts - kShapeExperts[above - 1],
                        experts - call.num_experts);
}

// 2 for the device that was measured, 1 for another id of its product, else 0.
constexpr int likeness(const Entry& entry, unsigned device_id) {
  if (device_id == 0) return 0;
  if (entry.device_ids[0] == device_id) return 2;
  for (unsigned id : entry.device_ids) {
    if (id == device_id) return 1;
  }
  return 0;
}

// What makes an entry better than another one of as many compute units: its condition, then its product.
constexpr int rank(const Call& call, const Entry& entry, unsigned device_id) {
  return (entry.moe_buf == call.moe_buf ? 8 : 0) + (entry.masked == call.masked ? 4 : 0) + likeness(entry, device_id);
}

// The best entry of a size, whatever rows it has; of several as good the newest.
constexpr int best_entry(const Call& call, const Size& size, unsigned device_id) {
  int best = size.usual[(call.moe_buf ? 2 : 0) + (call.masked ? 1 : 0)];
  for (int entry = size.first_entry; device_id != 0 && entry < size.end_entry; ++entry) {
    if (rank(call, kEntries[entry], device_id) > rank(call, kEntries[best], device_id)) best = entry;
  }
  return best;
}

// By the best entry of the nearest number of compute units, or the best of those that hold the shape itself.
constexpr int choose(const Call& call, int compute_units, unsigned device_id) {
  const Size& size = kSizes[nearest(kSizeUnits, 0, kSizeCount, compute_units)];
  int best = best_entry(call, size, device_id);
  Place best_place = find(kGrids[kEntries[best].grid], call);
  if (best_place.exact >= 0 || size.grids == 1) return choose(call, kEntries[best], best_place);
  int best_rank = -1;
  for (int entry = size.first_entry; entry < size.end_entry; ++entry) {
    const int found = rank(call, kEntries[entry], device_id);
    if (found <= best_rank) continue;
    const Place place = find(kGrids[kEntries[entry].grid], call);
    if (place.exact < 0) continue;
    best = entry;
    best_rank = found;
    best_place = place;
  }
  return choose(call, kEntries[best], best_place);
}

constexpr int policy(const Call& call, int compute_units, unsigned device_id) {
  if (call.tokens < 0 || call.num_experts < 1 || call.topk < 1 || compute_units < 1) return 0;
  return kPolicies[choose(call, compute_units, device_id)];
}

}  // namespace ${namespace}

#endif  // MOESORT_${guard}

#ifndef MOESORT_${guard}_AS_${name}
#define MOESORT_${guard}_AS_${name}

// ${policies_in_words}; 0 (let the kernels' own rule decide) where an argument cannot be. tokens: 0 and more.
// moe_buf: the call zeroes a moe_buf. masked: it brings a local_expert_mask, whose length num_experts then is.
[[maybe_unused]] static constexpr int ${name}(int tokens, int num_experts, int topk, int compute_units,
                                              bool moe_buf = true, bool masked = false) {
  return ${namespace}::policy({tokens, num_experts, topk, moe_buf, masked}, compute_units, 0);
}

// The same for a GPU whose PCI device id is known, 0x74a1 or 0 for unknown: of several products with as many compute
// units its own entry decides, if there is one.
[[maybe_unused]] static constexpr int ${name}_for(int tokens, int num_experts, int topk, int compute_units,
                                                  unsigned device_id, bool moe_buf = true, bool masked = false) {
  return ${namespace}::policy({tokens, num_experts, topk, moe_buf, masked}, compute_units, device_id);
}

#endif  // MOESORT_${guard}_AS_${name}
""")
