"""A decision in words: what `Dispatcher.explain` returns."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from moesort_tune.device.products import rate_likeness
from moesort_tune.domain.vocabulary import SORTING, Condition, Operation
from moesort_tune.runtime.lookup import Reason
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.schema import Entry, Row


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with everything that led to it; as text one sentence.

    policy: 1 oneshot, 2 multiphase, 3 wave, 0 the kernels' own rule. kernel: its name, 'automatic' for policy 0.
    rows: the rows that it was made from, two between neighbours, none by AITER's rule.
    tie: no kernel won at this token count.
    operation: what the kernels compute. condition: of the call, None where the operation has only one.
    table, entry: where the rows are from, None without a usable entry.
    device_id: of the device, None where it is not known.
    not_used: a sentence for each entry that was not used.
    without_row: tables of earlier places, which have rows but not this one, so that they could only have guessed.
    """

    tokens: int
    num_experts: int
    topk: int
    condition: Condition | None
    policy: int
    kernel: str
    reason: Reason
    rows: tuple[Row, ...]
    tie: bool
    table: Path | None
    entry: Entry | None
    device_id: str | None
    not_used: tuple[str, ...]
    without_row: tuple[Path, ...] = ()
    operation: Operation = SORTING

    @property
    def row(self) -> Row | None:
        """The row that decided, the lower one between neighbours."""
        return self.rows[0] if self.rows else None

    def __str__(self) -> str:
        asked = f"{self.tokens} tokens, {self.num_experts} experts, topk {self.topk}"
        asked += "" if self.condition in (None, Condition()) else f", {self.condition}"
        asked += "" if self.operation == SORTING else f", {self.operation}"
        decision = f"{self.kernel} (policy {self.policy}) for {asked}"
        earlier = "".join(f"; {format_path(path)} has no such row" for path in self.without_row)
        return f"{decision}: {self.reason}{self._format_rows()}; {self._format_entry()}{earlier}"

    def _format_rows(self) -> str:
        shapes = " and ".join(f"{row.num_experts}/{row.topk}" for row in self.rows)
        text = f" ({'rows' if len(self.rows) > 1 else 'row'} {shapes})" if shapes else ""
        return text + (", in a tie" if self.tie else "")

    def _format_entry(self) -> str:
        if self.entry is None or self.table is None:
            return "; ".join(self.not_used) or "no table"
        return (
            f"table {format_path(self.table)}, entry of {self.entry.key}{''.join(self._format_differences(self.entry))}"
        )

    def _format_differences(self, entry: Entry) -> Iterator[str]:
        """Yield how the entry differs from what was asked for."""
        verb, on = ("modelled", "for") if entry.evidence == "modelled" else ("measured", "on")
        if self.condition not in (None, entry.condition):
            yield f", {verb} {entry.condition}"
        if self.device_id and entry.device.id is None:
            yield f", of whose device the id is not recorded ({entry.device.name})"
        elif self.device_id and not rate_likeness(self.device_id, entry.device.id):
            yield f", {verb} {on} another product ({entry.device.name})"
