"""The table of one architecture, as data: what docs/tables.md describes, field by field."""

import datetime
from bisect import bisect_right
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from moesort_tune.domain.vocabulary import KernelName, Timing

SCHEMA: Final = 1
"""Version of the format that this package reads and writes."""


Provider = Literal["builtin", "aiter"]

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Limit = Annotated[int, msgspec.Meta(ge=0)]
_Number = Annotated[float, msgspec.Meta(ge=0)]
_Ratio = Annotated[float, msgspec.Meta(ge=1)]
# Controls of terminals and of writing direction, spaces but the plain one, invisible and unpaired characters: what
# the reader refuses, as far as a regular expression can say it.
_PRINTABLE = (
    r"^[^\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb]*\Z"
)
_Text = Annotated[str, msgspec.Meta(max_length=400, pattern=_PRINTABLE)]
_Part = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_PRINTABLE)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]

Software = dict[_Part, _Text]
"""Version of each part that was measured with, by its name."""

Step = tuple[_Count, KernelName]
"""A kernel and the token count from which it is chosen."""

Range = tuple[_Count, _Count]
"""First and last token count."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields by name; nothing is added silently."""


class Device(_Record, frozen=True):
    """The GPU that was measured; lds_bytes: on-chip memory that one workgroup may use."""

    name: _Text
    compute_units: _Count
    wavefront_size: Literal[32, 64]
    lds_bytes: _Count


class Kernels(_Record, frozen=True):
    """Whose kernels were measured; revision names their code and is None for published figures alone."""

    provider: Provider
    revision: _Text | None = None


class Sweep(_Record, frozen=True, omit_defaults=True):
    """When and under what settings the rows were measured.

    graph: timed as a replayed graph, as serving runs it; eager: launched one by one.
    ep: ranks that the experts are spread over, one of which is measured.
    cold: the last-level cache was flushed before each launch.
    """

    date: datetime.date
    timing: Timing
    unit_size: _Count
    model_dim: _Count
    dtype: _Text
    routing: _Text
    seed: int
    ep: _Count = 1
    cold: bool = False


class Evidence(_Record, frozen=True):
    """What a row rests on.

    points: token counts measured; noise: relative deviation of one comparison.
    rule_loss: worst time of AITER's own rule over the better kernel on those points.
    tokens: first and last token count that was measured.
    since: day of the oldest point, where not all are of the day of the sweep.
    learned: made by a serving process on its own traffic (`on_miss="measure"`) instead of a sweep.
    source: who published the figures, where they were not measured by this program.
    """

    points: _Limit | None = None
    noise: _Number | None = None
    rule_loss: _Ratio | None = None
    tokens: Range | None = None
    since: datetime.date | None = None
    learned: bool = False
    source: _Text | None = None


class Row(_Record, frozen=True):
    """The choice for one (num_experts, topk) at every token count.

    policy: [first token count, kernel], ascending from 1, the kernels taking turns.
    tie: token ranges in which neither kernel won by more than the noise.
    sweep, software, device: only where they are not those of the entry, because rows of another sweep were merged in.
    """

    num_experts: _Count
    topk: _Count
    oneshot_max_tokens: _Limit
    policy: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]
    tie: tuple[Range, ...] = ()
    evidence: Evidence = Evidence()
    sweep: Sweep | None = None
    software: Software | None = None
    device: Device | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(num_experts, topk): what a row is known by inside its entry."""
        return self.num_experts, self.topk

    def kernel_at(self, tokens: int) -> KernelName:
        """The choice for `tokens` >= 0; oneshot never past oneshot_max_tokens."""
        kernel = self.policy[max(0, bisect_right(self.policy, tokens, key=_first) - 1)][1]
        return "multiphase" if tokens > self.oneshot_max_tokens else kernel

    def in_tie(self, tokens: int) -> bool:
        """Whether neither kernel won at `tokens`."""
        return any(first <= tokens <= last for first, last in self.tie)


def _first(step: tuple[int, KernelName]) -> int:
    return step[0]


class EntryKey(NamedTuple):
    """What an entry is known by inside its table; revision and timing are None for published figures."""

    compute_units: int
    provider: Provider
    revision: str | None
    timing: Timing | None

    def __str__(self) -> str:
        told = (f"{self.compute_units} compute units", self.provider, self.revision, self.timing)
        return ", ".join(part for part in told if part)


class Entry(_Record, frozen=True):
    """The rows of one device, one set of kernels and one way of timing.

    evidence: 'published' marks figures that others published: they have no sweep and no revision.
    """

    device: Device
    kernels: Kernels
    rows: Annotated[tuple[Row, ...], msgspec.Meta(min_length=1)]
    software: Software = {}
    sweep: Sweep | None = None
    evidence: Literal["published"] | None = None

    @property
    def key(self) -> EntryKey:
        """What tells this entry from the others of its table."""
        timing = self.sweep.timing if self.sweep else None
        return EntryKey(self.device.compute_units, self.kernels.provider, self.kernels.revision, timing)

    def complete(self, row: Row) -> Row:
        """Return a row of this entry with the sweep, the software and the device that it was measured with."""
        return msgspec.structs.replace(
            row,
            sweep=row.sweep or self.sweep,
            software=row.software or self.software,
            device=row.device or self.device,
        )


class Table(_Record, frozen=True):
    """All that is known of one architecture."""

    schema: int
    arch: _Name
    tables: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1)]
