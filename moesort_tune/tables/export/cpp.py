"""Write a table as one C++17 header that decides as `runtime.Dispatcher` does; runtime/lookup.py is its twin."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from string import Template
from typing import Final

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.providers.facts.base import Facts
from moesort_tune.tables.schema import Entry, Row

_HEADER: Final = Template("""\
// Which sorting kernel to run: ${policies_in_words}. Decides as moesort_tune.runtime does, by a measured table.
// Written by `moesort-tune export --format cpp`; do not edit.
${about}
#ifndef MOESORT_${guard}
#define MOESORT_${guard}

namespace ${namespace} {

// Candidates are numbered in their order, from 0; kPolicies holds the policy of each.
inline constexpr int kPolicies[] = {${policies}};
constexpr int kCandidates = ${candidate_count};

struct Step {
  int first_tokens;
  int candidate;
};

// limits: largest token count of each candidate on the entry's device.
// turns: alike where rows take the same candidates one after another.
struct Row {
  int limits[kCandidates];
  int turns;
  int first_step, end_step;
};

// The rows of one topk, by experts.
struct Group {
  int first_row, end_row;
};

// The rows of one device, by topk.
struct Entry {
  int lds_bytes;
  int wavefront_size;
  int first_group, end_group;
};

inline constexpr Step kSteps[] = {
${steps}
};
// What rows, groups and entries are found by, apart from them so that a search stays in few cache lines.
inline constexpr int kRowExperts[] = {${row_experts}};
inline constexpr int kGroupTopks[] = {${group_topks}};
inline constexpr int kEntryUnits[] = {${entry_units}};

inline constexpr Row kRows[] = {
${rows}
};
inline constexpr Group kGroups[] = {
${groups}
};
inline constexpr Entry kEntries[] = {
${entries}
};
constexpr int kEntryCount = ${entry_count};

${limits}
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

// The limits of the candidates: those of the shape's own row if there is one, else those of the shape on this device.
struct Limits {
  int num_experts, topk;
  const Entry& entry;
  const Row* row;

  constexpr bool allow(int candidate, int tokens) const {
    return tokens <= (row != nullptr ? row->limits[candidate]
                                     : max_tokens(candidate, num_experts, topk, entry.lds_bytes, entry.wavefront_size));
  }

  // The candidate if it may sort so many tokens, else the next in order that may, else an earlier one, else the last.
  constexpr int next_legal(int candidate, int tokens) const {
    if (allow(candidate, tokens)) return candidate;
    for (int next = candidate + 1; next < kCandidates; ++next) {
      if (allow(next, tokens)) return next;
    }
    for (int next = 0; next < candidate; ++next) {
      if (allow(next, tokens)) return next;
    }
    return kCandidates - 1;
  }

  // Of two choices the first in order that may sort so many tokens, else what comes next.
  constexpr int first_legal(int one, int other, int tokens) const {
    const int first = one < other ? one : other, second = one < other ? other : one;
    return !allow(first, tokens) && allow(second, tokens) ? second : next_legal(first, tokens);
  }
};

constexpr int choose(int tokens, int num_experts, int topk, const Entry& entry) {
  Limits limits = {num_experts, topk, entry, nullptr};
  if (tokens == 0) return limits.next_legal(0, tokens);
  const int used = nearest(kGroupTopks, entry.first_group, entry.end_group, topk);
  const Group& group = kGroups[used];
  const int above = lower_bound(kRowExperts, group.first_row, group.end_row, num_experts);
  const int index = above == group.end_row ? above - 1 : above;
  const Row& row = kRows[index];
  const bool has_row = kRowExperts[index] == num_experts;
  if (has_row && kGroupTopks[used] == topk) limits.row = &row;
  if (has_row || above == group.first_row || above == group.end_row) {
    return limits.next_legal(candidate_at(row, tokens), tokens);
  }
  const Row& low = kRows[above - 1];
  if (low.turns == row.turns) {
    const int below_row = num_experts - kRowExperts[above - 1], above_row = kRowExperts[above] - num_experts;
    return limits.next_legal(interpolated_at(low, row, tokens, below_row, above_row), tokens);
  }
  return limits.first_legal(candidate_at(low, tokens), candidate_at(row, tokens), tokens);
}

constexpr int policy(int tokens, int num_experts, int topk, int compute_units) {
  if (tokens < 0 || num_experts < 1 || topk < 1 || compute_units < 1) return 0;
  const Entry& entry = kEntries[nearest(kEntryUnits, 0, kEntryCount, compute_units)];
  return kPolicies[choose(tokens, num_experts, topk, entry)];
}

}  // namespace ${namespace}

#endif  // MOESORT_${guard}

#ifndef MOESORT_${guard}_AS_${name}
#define MOESORT_${guard}_AS_${name}

// ${policies_in_words}; 0 (let the kernels' own rule decide) where an argument cannot be. tokens: 0 and more.
[[maybe_unused]] static constexpr int ${name}(int tokens, int num_experts, int topk, int compute_units) {
  return ${namespace}::policy(tokens, num_experts, topk, compute_units);
}

#endif  // MOESORT_${guard}_AS_${name}
""")


def to_cpp(arch: str, entries: Iterable[Entry], facts: Facts, name: str = "moesort_policy") -> str:
    """Return the header of these entries, all of the provider with these facts, one for each number of compute units.

    name: of the function. All else is named by its content, so that a program may hold headers of several tables.
    """
    data = _Data(arch, sorted(entries, key=lambda entry: entry.device.compute_units), facts)
    policies = ", ".join(str(candidate.policy) for candidate in facts.candidates)
    keys = map(str, (data.row_experts, data.group_topks, [entry.device.compute_units for entry in data.ordered]))
    parts = [policies, *keys, *data.steps, *data.rows, *data.groups, *data.entries, facts.limits_cpp]
    namespace = f"moesort_{arch}_{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"
    return _HEADER.substitute(
        about="\n".join(f"// {_format_comment(line)}" for line in data.about),
        guard=namespace.removeprefix("moesort_").upper(),
        namespace=namespace,
        name=name,
        policies=policies,
        policies_in_words=", ".join(f"{candidate.policy} {candidate.name}" for candidate in facts.candidates),
        candidate_count=len(facts.candidates),
        row_experts=", ".join(map(str, data.row_experts)),
        group_topks=", ".join(map(str, data.group_topks)),
        entry_units=", ".join(str(entry.device.compute_units) for entry in data.ordered),
        steps=",\n".join(data.steps),
        rows=",\n".join(data.rows),
        groups=",\n".join(data.groups),
        entries=",\n".join(data.entries),
        entry_count=len(data.entries),
        limits=facts.limits_cpp,
    )


def check_function_name(text: str) -> str:
    """Return `text` if C++ takes it for a function's name; raise ValueError."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text):
        raise ValueError(f"expected a C++ name, got {text!r}")
    return text


class _Data:
    """The initialisers of the header's arrays; each record names a range of the array above it."""

    def __init__(self, arch: str, entries: Sequence[Entry], facts: Facts) -> None:
        self._arch = arch
        self._facts = facts
        self._candidates = {candidate.name: index for index, candidate in enumerate(facts.candidates)}
        self.ordered = entries
        self.row_experts: list[int] = []
        self.group_topks: list[int] = []
        self.about = [_describe_entry(entry) for entry in entries]
        self.steps: list[str] = []
        self.rows: list[str] = []
        self.groups: list[str] = []
        self.entries: list[str] = []
        self._steps = 0
        self._turns: dict[tuple[KernelName, ...], int] = {}
        for entry in entries:
            self._add_entry(entry)

    def _add_entry(self, entry: Entry) -> None:
        first = len(self.groups)
        device = DeviceLimits(
            self._arch, entry.device.compute_units, entry.device.wavefront_size, entry.device.lds_bytes
        )
        for topk in sorted({row.topk for row in entry.rows}):
            rows = sorted((row for row in entry.rows if row.topk == topk), key=lambda row: row.num_experts)
            self._add_group(topk, rows, device)
        self.entries.append(f"    {{{device.lds_bytes}, {device.wavefront_size}, {first}, {len(self.groups)}}}")

    def _add_group(self, topk: int, rows: Sequence[Row], device: DeviceLimits) -> None:
        first = len(self.rows)
        for row in rows:
            self._add_row(row, device)
        self.group_topks.append(topk)
        self.groups.append(f"    {{{first}, {len(self.rows)}}}")

    def _add_row(self, row: Row, device: DeviceLimits) -> None:
        first = self._steps
        self._steps += len(row.policy)
        self.steps.append(
            "    " + ", ".join(f"{{{tokens}, {self._candidates[kernel]}}}" for tokens, kernel in row.policy)
        )
        of_shape = self._facts.limits(row.num_experts, row.topk, device)
        limits = ", ".join(str(min(row.get_limit(kernel), limit)) for kernel, limit in of_shape.items())
        turns = self._turns.setdefault(tuple(kernel for _, kernel in row.policy), len(self._turns))
        self.row_experts.append(row.num_experts)
        self.rows.append(f"    {{{{{limits}}}, {turns}, {first}, {self._steps}}}")


def _describe_entry(entry: Entry) -> str:
    figures = f"{entry.evidence} {entry.sweep.date}" if entry.sweep else "published figures"
    return f"{entry.device.name}, {entry.key}, {figures}"


def _format_comment(text: str) -> str:
    """Return text that cannot end a comment's line or go on to the next."""
    return re.sub(r"[^\w .,()+-]", "?", text, flags=re.ASCII)
