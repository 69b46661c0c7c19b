"""A table as one C++17 header that decides as `runtime.Dispatcher` does (lookup.py holds the same in Python)."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from string import Template
from typing import Final

from moesort_tune.tables.schema import Entry, Row

_HEADER: Final = Template("""\
// Which sorting kernel to run: 1 oneshot, 2 multiphase. Decides as moesort_tune.runtime does, by a measured table.
// Written by `moesort-tune export --format cpp`; do not edit.
${about}
#ifndef MOESORT_${guard}
#define MOESORT_${guard}

namespace ${namespace} {

struct Step {
  int first_tokens;
  bool oneshot;
};

struct Row {
  int num_experts;
  int oneshot_max_tokens;
  int first_step, end_step;
};

// The rows of one topk, by experts.
struct Group {
  int topk;
  int first_row, end_row;
};

// What was measured on one device, by topk.
struct Entry {
  int compute_units;
  int lds_bytes;
  int first_group, end_group;
};

inline constexpr Step kSteps[] = {
${steps}
};
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

${limit}
// First index in [first, end) whose member, ascending there, is not below `wanted`; `end` if all are.
template <typename Record>
constexpr int lower_bound(const Record* records, int first, int end, int Record::* member, int wanted) {
  while (first < end) {
    const int middle = (first + end) / 2;
    const bool below = records[middle].*member < wanted;
    first = below ? middle + 1 : first;
    end = below ? end : middle;
  }
  return first;
}

// Index in [first, end) whose member, ascending there, is nearest to `wanted` by ratio; on a tie the smaller one.
template <typename Record>
constexpr int nearest(const Record* records, int first, int end, int Record::* member, int wanted) {
  const int above = lower_bound(records, first, end, member, wanted);
  if (above == first) return first;
  if (above == end) return end - 1;
  const long long low = records[above - 1].*member, high = records[above].*member;
  return static_cast<long long>(wanted) * wanted <= low * high ? above - 1 : above;
}

constexpr bool takes_oneshot(const Row& row, int tokens) {
  int step = row.first_step;
  while (step + 1 < row.end_step && kSteps[step + 1].first_tokens <= tokens) ++step;
  return kSteps[step].oneshot;
}

constexpr bool has_one_switch(const Row& row) { return row.end_step - row.first_step == 2; }

// Two rows with one switch each, of the same kind, share a switch that lies between theirs by experts. Others decide
// where they agree; elsewhere oneshot is taken.
constexpr bool takes_oneshot_between(const Row& low, const Row& high, int tokens, int num_experts) {
  const bool choice = takes_oneshot(low, tokens);
  if (choice == takes_oneshot(high, tokens)) return choice;
  const bool begins_with_oneshot = kSteps[low.first_step].oneshot;
  if (!has_one_switch(low) || !has_one_switch(high) || begins_with_oneshot != kSteps[high.first_step].oneshot) {
    return true;
  }
  const long long below = num_experts - low.num_experts, above = high.num_experts - num_experts;
  const long long switch_low = kSteps[low.first_step + 1].first_tokens;
  const long long switch_high = kSteps[high.first_step + 1].first_tokens;
  const bool before_switch = tokens < (switch_low * above + switch_high * below) / (below + above);
  return before_switch == begins_with_oneshot;
}

constexpr int policy(int tokens, int num_experts, int topk, int compute_units) {
  if (tokens < 0 || num_experts < 1 || topk < 1 || compute_units < 1) return 0;
  const Entry& entry = kEntries[nearest(kEntries, 0, kEntryCount, &Entry::compute_units, compute_units)];
  if (tokens == 0) return oneshot_max_tokens(num_experts, topk, entry.lds_bytes) < 0 ? 2 : 1;
  const Group& group = kGroups[nearest(kGroups, entry.first_group, entry.end_group, &Group::topk, topk)];
  const int above = lower_bound(kRows, group.first_row, group.end_row, &Row::num_experts, num_experts);
  const bool has_row = above < group.end_row && kRows[above].num_experts == num_experts;
  const bool outside = above == group.first_row || above == group.end_row;
  const Row& row = kRows[above == group.end_row ? above - 1 : above];
  const bool oneshot = has_row || outside ? takes_oneshot(row, tokens)
                                          : takes_oneshot_between(kRows[above - 1], row, tokens, num_experts);
  if (!oneshot || (has_row && group.topk == topk && tokens > row.oneshot_max_tokens)) return 2;
  return tokens <= oneshot_max_tokens(num_experts, topk, entry.lds_bytes) ? 1 : 2;
}

}  // namespace ${namespace}

#endif  // MOESORT_${guard}

#ifndef MOESORT_${guard}_AS_${name}
#define MOESORT_${guard}_AS_${name}

// 1: oneshot, 2: multiphase; 0 (let the kernels' own rule decide) where an argument cannot be. tokens: 0 and more.
[[maybe_unused]] static constexpr int ${name}(int tokens, int num_experts, int topk, int compute_units) {
  return ${namespace}::policy(tokens, num_experts, topk, compute_units);
}

#endif  // MOESORT_${guard}_AS_${name}
""")


def to_cpp(arch: str, entries: Iterable[Entry], limit: str, name: str = "moesort_policy") -> str:
    """The header of these entries, one for each number of compute units.

    limit: C++ text of `constexpr int oneshot_max_tokens(int num_experts, int topk, int lds_bytes)` of the kernels
    meant. name: of the function; the rest has names made of its content, so that a program may hold headers of several
    tables.
    """
    data = _Data(sorted(entries, key=lambda entry: entry.device.compute_units))
    content = hashlib.sha256("\n".join([*data.steps, *data.rows, *data.groups, *data.entries, limit]).encode())
    namespace = f"moesort_{arch}_{content.hexdigest()[:12]}"
    return _HEADER.substitute(
        about="\n".join(f"// {_comment(line)}" for line in data.about),
        guard=namespace.removeprefix("moesort_").upper(),
        namespace=namespace,
        name=name,
        steps=",\n".join(data.steps),
        rows=",\n".join(data.rows),
        groups=",\n".join(data.groups),
        entries=",\n".join(data.entries),
        entry_count=len(data.entries),
        limit=limit,
    )


def function_name(text: str) -> str:
    """A name that C++ takes for a function; raises ValueError."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text):
        raise ValueError(f"expected a C++ name, got {text!r}")
    return text


class _Data:
    """The initialisers of the header's arrays; each record names a range of the array above it."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.about = [_about(entry) for entry in entries]
        self.steps: list[str] = []
        self.rows: list[str] = []
        self.groups: list[str] = []
        self.entries: list[str] = []
        self._steps = 0
        for entry in entries:
            self._add_entry(entry)

    def _add_entry(self, entry: Entry) -> None:
        first = len(self.groups)
        for topk in sorted({row.topk for row in entry.rows}):
            self._add_group(topk, sorted((r for r in entry.rows if r.topk == topk), key=lambda r: r.num_experts))
        device = entry.device
        self.entries.append(f"    {{{device.compute_units}, {device.lds_bytes}, {first}, {len(self.groups)}}}")

    def _add_group(self, topk: int, rows: Sequence[Row]) -> None:
        first = len(self.rows)
        for row in rows:
            self._add_row(row)
        self.groups.append(f"    {{{topk}, {first}, {len(self.rows)}}}")

    def _add_row(self, row: Row) -> None:
        first = self._steps
        self._steps += len(row.policy)
        steps = (f"{{{tokens}, {'true' if kernel == 'oneshot' else 'false'}}}" for tokens, kernel in row.policy)
        self.steps.append("    " + ", ".join(steps))
        self.rows.append(f"    {{{row.num_experts}, {row.oneshot_max_tokens}, {first}, {self._steps}}}")


def _about(entry: Entry) -> str:
    measured = f"measured {entry.sweep.date}" if entry.sweep else "published figures"
    return f"{entry.device.name}, {entry.key}, {measured}"


def _comment(text: str) -> str:
    """Text that cannot end a comment's line or go on to the next."""
    return re.sub(r"[^\w .,()+-]", "?", text, flags=re.ASCII)
