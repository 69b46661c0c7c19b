"""Write a table as one C++17 header that decides as `runtime.Dispatcher` does; runtime/lookup.py is its twin."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from moesort_tune.device.architectures import limit_lds_bytes
from moesort_tune.device.products import list_alike, parse_pci_number
from moesort_tune.domain.candidates import choose_for_no_tokens
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import Condition, KernelName
from moesort_tune.providers.facts.base import Facts
from moesort_tune.tables.export.header import HEADER
from moesort_tune.tables.schema import Entry, Row


def to_cpp(arch: str, entries: Iterable[Entry], facts: Facts, name: str = "moesort_policy") -> str:
    """Return the header of these entries, all of the provider with these facts, the newest first.

    name: of the function. All else is named by its content, so that a program may hold headers of several tables.
    """
    names = [candidate.name for candidate in facts.candidates]
    data = _Data(arch, sorted(entries, key=_get_units), facts)
    values = {
        "policies": ", ".join(str(candidate.policy) for candidate in facts.candidates),
        "candidate_count": str(len(facts.candidates)),
        "for_no_tokens": str(names.index(choose_for_no_tokens(names))),
        "id_count": str(data.id_count),
        "steps": ",\n".join(data.steps),
        "shape_experts": ", ".join(map(str, data.shape_experts)),
        "group_topks": ", ".join(map(str, data.group_topks)),
        "size_units": ", ".join(map(str, data.size_units)),
        "groups": ",\n".join(data.groups),
        "grids": ", ".join(data.grids),
        "rows": ",\n".join(data.rows),
        "entries": ",\n".join(data.entries),
        "sizes": ",\n".join(data.sizes),
        "size_count": str(len(data.sizes)),
        "limits": facts.limits_cpp,
        "rule": facts.rule_cpp(arch),
    }
    content = "\n".join([HEADER.template, *values.values()])
    namespace = f"moesort_{arch}_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return HEADER.substitute(
        values,
        evidence=_describe_evidence(data.ordered),
        about="\n".join(f"// {_format_comment(_describe_entry(entry))}" for entry in data.ordered),
        guard=namespace.removeprefix("moesort_").upper(),
        namespace=namespace,
        name=name,
        policies_in_words=", ".join(f"{candidate.policy} {candidate.name}" for candidate in facts.candidates),
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
        self.id_count = max(1, *(len(_list_device_ids(entry)) for entry in entries))
        self.shape_experts: list[int] = []
        self.group_topks: list[int] = []
        self.steps: list[str] = []
        self.groups: list[str] = []
        self.grids: list[str] = []
        self.rows: list[str] = []
        self.entries: list[str] = []
        self.size_units: list[int] = []
        self.sizes: list[str] = []
        self._steps = 0
        self._turns: dict[tuple[KernelName, ...], int] = {}
        # The index of the grid of these shapes, and of its first shape.
        self._grids: dict[tuple[tuple[int, int], ...], tuple[int, int]] = {}
        for units, of_size in groupby(entries, key=_get_units):
            self._add_size(units, list(of_size))

    def _add_size(self, units: int, entries: Sequence[Entry]) -> None:
        first = len(self.entries)
        grids = {self._add_entry(entry) for entry in entries}
        usual = ", ".join(
            str(first + _find_best(entries, Condition(moe_buf, masked)))
            for moe_buf in (False, True)
            for masked in (False, True)
        )
        self.size_units.append(units)
        self.sizes.append(f"    {{{first}, {len(self.entries)}, {len(grids)}, {{{usual}}}}}")

    def _add_entry(self, entry: Entry) -> int:
        """Add an entry and return the index of its grid."""
        rows = sorted(entry.rows, key=lambda row: (row.topk, row.num_experts))
        grid, first_shape = self._add_grid([row.shape for row in rows])
        offset = len(self.rows) - first_shape
        lds_bytes = limit_lds_bytes(self._arch, entry.device.lds_bytes)  # as the runtime does
        device = DeviceLimits(self._arch, entry.device.compute_units, entry.device.wavefront_size, lds_bytes)
        for row in rows:
            self._add_row(row, device)
        flags = ", ".join(map(_format_flag, entry.condition))
        ids = ", ".join(_list_device_ids(entry)) or "0"
        self.entries.append(
            f"    {{{device.lds_bytes}, {device.wavefront_size}, {grid}, {offset}, {flags}, {{{ids}}}}}"
        )
        return grid

    def _add_grid(self, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Return the index of the grid with these shapes, ascending by topk, and of its first shape."""
        known = self._grids.get(tuple(shapes))
        if known is not None:
            return known
        added = (len(self.grids), len(self.shape_experts))
        first_group = len(self.groups)
        for topk in dict.fromkeys(topk for _, topk in shapes):
            first = len(self.shape_experts)
            self.shape_experts += [num_experts for num_experts, of in shapes if of == topk]
            self.group_topks.append(topk)
            self.groups.append(f"    {{{first}, {len(self.shape_experts)}}}")
        self.grids.append(f"{{{first_group}, {len(self.groups)}}}")
        self._grids[tuple(shapes)] = added
        return added

    def _add_row(self, row: Row, device: DeviceLimits) -> None:
        first_step, policy = self._steps, row.swept_policy
        self._steps += len(policy)
        self.steps.append("    " + ", ".join(f"{{{tokens}, {self._candidates[kernel]}}}" for tokens, kernel in policy))
        limits = ", ".join(self._format_limits(row, row.num_experts + sentinel, device) for sentinel in (0, 1))
        first, last = row.swept_range
        lost = [self._format_lost(row, first, by_later=False), self._format_lost(row, last, by_later=True)]
        turns = self._turns.setdefault(tuple(kernel for _, kernel in policy), len(self._turns))
        parts = (f"{{{limits}}}", first, last + 1, *lost, turns, first_step, self._steps)
        self.rows.append(f"    {{{', '.join(map(str, parts))}}}")

    def _format_limits(self, row: Row, num_experts: int, device: DeviceLimits) -> str:
        """Return the limits of a shape that the row stands for, none above the row's."""
        limits = self._facts.limits(num_experts, row.topk, device)
        return f"{{{', '.join(str(min(row.get_limit(kernel), limit)) for kernel, limit in limits.items())}}}"

    def _format_lost(self, row: Row, tokens: int, *, by_later: bool) -> str:
        lost = row.list_beaten(tokens, tuple(self._candidates), by_later=by_later)
        return f"{sum(1 << self._candidates[kernel] for kernel in lost)}u"


def _find_best(entries: Sequence[Entry], condition: Condition) -> int:
    """Return the index of the first entry of the condition, or of the nearest: moe_buf comes before masked."""
    likeness = [
        (entry.condition.moe_buf == condition.moe_buf, entry.condition.masked == condition.masked) for entry in entries
    ]
    return likeness.index(max(likeness))


def _get_units(entry: Entry) -> int:
    return entry.device.compute_units


def _format_flag(value: bool) -> str:
    return "true" if value else "false"


def _list_device_ids(entry: Entry) -> list[str]:
    """Return the PCI device ids of the entry's product, the measured one first; none of an NVIDIA GPU."""
    return [f"{number:#x}u" for number in map(parse_pci_number, list_alike(entry.device.id or "")) if number]


def _describe_evidence(entries: Iterable[Entry]) -> str:
    """Return of what kind the table is; what a serving process learned was measured too."""
    kinds = {"measured" if entry.evidence == "learned" else entry.evidence for entry in entries}
    if kinds == {"modelled"}:
        return "a modelled table, which nobody measured"
    return "published figures" if kinds == {"published"} else "a measured table"


def _describe_entry(entry: Entry) -> str:
    figures = f"{entry.evidence} {entry.sweep.date}" if entry.sweep else "published figures"
    return f"{entry.device.name}, {entry.key}, {figures}"


def _format_comment(text: str) -> str:
    """Return text that cannot end a comment's line or go on to the next."""
    return re.sub(r"[^\w .,()+-]", "?", text, flags=re.ASCII)
