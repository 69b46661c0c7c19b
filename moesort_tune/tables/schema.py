"""The table of one architecture, as data; docs/tables.md describes each field."""

import datetime
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from moesort_tune.device.products import format_product
from moesort_tune.domain.candidates import choose_legal
from moesort_tune.domain.vocabulary import (
    ALIGN,
    ALIGN_CONDITION,
    DEFAULT_TOKENS,
    MAX_TOKENS,
    NAME_PATTERN,
    SORTING,
    Condition,
    KernelName,
    Operation,
    Timing,
)

SCHEMA: Final = 2
"""Version of the format that this package writes. It reads 1 as well: see schema_1.py."""


Kind = Literal["measured", "published", "modelled", "learned"]
"""Origin of figures: measured by a sweep, published by others, computed by a model, learned by a serving process."""

Count = Annotated[int, msgspec.Meta(ge=1)]
TokenLimit = Annotated[int, msgspec.Meta(ge=0)]
Number = Annotated[float, msgspec.Meta(ge=0)]
Ratio = Annotated[float, msgspec.Meta(ge=1)]
# Controls of terminals and of writing direction, spaces but the plain one, invisible and unpaired characters: what
# the reader refuses, as far as a regular expression can say it.
_PRINTABLE = (
    r"^[^\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb]*\Z"
)
Text = Annotated[str, msgspec.Meta(max_length=400, pattern=_PRINTABLE)]
Part = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_PRINTABLE)]
_WORD = rf"^{NAME_PATTERN}\Z"
Word = Annotated[str, msgspec.Meta(pattern=_WORD, examples=["gfx942"])]
_KernelName = Annotated[str, msgspec.Meta(pattern=_WORD, examples=["oneshot"])]
_ProviderName = Annotated[str, msgspec.Meta(pattern=_WORD, examples=["builtin"])]

Software = dict[Part, Text]
"""Version of each part that was measured with, by its name."""

Step = tuple[Count, _KernelName]
"""A kernel and the token count from which it is chosen."""

Range = tuple[Count, Count]
"""First and last token count."""

Tie = tuple[Count, Count, Annotated[tuple[_KernelName, ...], msgspec.Meta(min_length=2)]]
"""First and last token count, and the kernels of which none won there, in the candidates' order."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields by name; nothing is added silently."""


class Device(Record, frozen=True):
    """The GPU that was measured.

    lds_bytes: on-chip memory that one workgroup may use.
    id: tells products of one architecture apart, where it is known: '0x74a1', 'NVIDIA H100 80GB HBM3'.
    """

    name: Text
    compute_units: Count
    wavefront_size: Literal[32, 64]
    lds_bytes: Count
    id: Part | None = None


class LaunchGaps(Record, frozen=True):
    """The microseconds that each further launch costs a device.

    graph: of many in one graph, as a sweep times and serving replays; replay: of a graph of a few, replayed over and
    over; eager: launched one by one while the host runs ahead.
    """

    graph: Number
    replay: Number
    eager: Number


class Kernels(Record, frozen=True):
    """Whose kernels were measured; revision names their code and is None for published figures alone."""

    provider: _ProviderName
    revision: Text | None = None


class Sweep(Record, frozen=True, omit_defaults=True):
    """When and under what settings the rows were measured.

    graph: timed as a replayed graph, as serving runs it; eager: launched one by one.
    ep: ranks that the experts are spread over, one of which is measured.
    cold: the last-level cache was flushed before each launch.
    moe_buf: the kernels zeroed a moe_buf of model_dim columns. masked: they were given a local_expert_mask.
    """

    date: datetime.date
    timing: Timing
    unit_size: Count
    model_dim: Count
    dtype: Text
    routing: Text
    seed: int
    ep: Count = 1
    cold: bool = False
    moe_buf: bool = True
    masked: bool = False

    @property
    def condition(self) -> Condition:
        """The work of the timed calls besides sorting."""
        return Condition(self.moe_buf, self.masked)


class Evidence(Record, frozen=True):
    """The measurements that a row rests on.

    points: token counts measured; noise: relative deviation of one comparison.
    rule_loss: worst time of AITER's own rule over the best kernel on those points.
    expected_loss: what the choices are expected to lose between these points, as a share of the best kernel's time.
    tokens: first and last token count that was measured.
    since: day of the oldest point, if it is older than the sweep.
    cards: GPUs on which each of the points was measured, where more than one; spread: how much longer the slowest of
    them takes than the fastest, as a share, the median over the points.
    kind: only where it is not that of the entry.
    source: who published the figures, where they were not measured by this program.
    """

    points: TokenLimit | None = None
    noise: Number | None = None
    rule_loss: Ratio | None = None
    expected_loss: Number | None = None
    tokens: Range | None = None
    since: datetime.date | None = None
    cards: Count | None = None
    spread: Number | None = None
    kind: Kind | None = None
    source: Text | None = None


class Row(Record, frozen=True):
    """The choice for one (num_experts, topk) at every token count.

    limits: largest token count of each kernel that has one.
    policy: [first token count, kernel], ascending from 1, the kernels taking turns.
    tie: token ranges in which several kernels were as fast: none of them won by more than the noise.
    sweep, software, device: only where they are not those of the entry, because rows of another sweep were merged in.
    """

    num_experts: Count
    topk: Count
    policy: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]
    limits: dict[_KernelName, TokenLimit] = {}
    tie: tuple[Tie, ...] = ()
    evidence: Evidence = Evidence()
    sweep: Sweep | None = None
    software: Software | None = None
    device: Device | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return (num_experts, topk), which identifies the row inside its entry."""
        return self.num_experts, self.topk

    def get_limit(self, kernel: KernelName) -> int:
        """Return the largest token count for which the row allows `kernel`."""
        return self.limits.get(kernel, MAX_TOKENS)

    @property
    def swept_range(self) -> Range:
        """The first and last token count that the row was measured on."""
        return self.evidence.tokens or DEFAULT_TOKENS

    @property
    def swept_policy(self) -> tuple[tuple[int, KernelName], ...]:
        """The policy without the steps past the swept range: those follow from a limit, and nobody measured them."""
        _, last = self.swept_range
        return tuple(step for step in self.policy if _get_first(step) <= last) or self.policy[:1]

    def list_kernels(self) -> Iterator[KernelName]:
        """Yield every kernel that the row names, some of them more than once."""
        yield from self.limits
        yield from (kernel for _, kernel in self.policy)
        for _, _, tied in self.tie:
            yield from tied

    def choose_kernel(self, tokens: int, candidates: Sequence[KernelName]) -> KernelName:
        """Return the choice for `tokens` >= 0; never a kernel past its limit, but the next of `candidates`."""
        kernel = self.policy[max(0, bisect_right(self.policy, tokens, key=_get_first) - 1)][1]
        return choose_legal(kernel, tokens, {name: self.get_limit(name) for name in candidates})

    def list_ties(self, *kernels: KernelName) -> Iterator[Range]:
        """Yield the token ranges in which none of `kernels` won."""
        yield from ((first, last) for first, last, tied in self.tie if set(kernels) <= set(tied))

    def list_tied(self, tokens: int) -> tuple[KernelName, ...]:
        """Return the kernels of which none won at `tokens`, in order; empty where one won."""
        return next((tied for first, last, tied in self.tie if first <= tokens <= last), ())

    def list_beaten(self, tokens: int, candidates: Sequence[KernelName], *, by_later: bool) -> set[KernelName]:
        """Return the kernels that lost at `tokens` to one that comes later in `candidates`, else to an earlier one."""
        best = self.list_tied(tokens) or (self.choose_kernel(tokens, candidates),)
        places = [candidates.index(name) for name in best]
        beaten = candidates[: max(places)] if by_later else candidates[min(places) + 1 :]
        return {name for name in beaten if name not in best}


def _get_first(step: tuple[int, KernelName]) -> int:
    return step[0]


class EntryKey(NamedTuple):
    """Identifies an entry inside its table; revision and timing are None for published figures.

    product: the device's id, None where it is unknown; entries of several products stand side by side.
    moe_buf, masked: the condition; published figures have the usual one. operation: what the kernels compute.
    """

    compute_units: int
    provider: str
    revision: str | None
    timing: Timing | None
    product: str | None = None
    moe_buf: bool = True
    masked: bool = False
    operation: Operation = SORTING

    @property
    def condition(self) -> Condition:
        """The work of the timed calls besides sorting."""
        return Condition(self.moe_buf, self.masked)

    def list_unusual(self) -> tuple[str, ...]:
        """Return what distinguishes the timed calls from usual ones: another operation, or the condition."""
        return self.condition.list_unusual() if self.operation == SORTING else (self.operation,)

    def __str__(self) -> str:
        product = format_product(self.product) if self.product else None
        parts = (f"{self.compute_units} compute units", self.provider, self.revision, self.timing, product)
        return ", ".join(part for part in (*parts, *self.list_unusual()) if part)


class Entry(Record, frozen=True):
    """The rows of one device, one set of kernels, one way of timing and one condition.

    operation: what the kernels compute, always the operation of their provider.
    launch_gap_us: what each further launch cost on the device, when it was last swept.
    evidence: origin of the figures; those that others published have no sweep and no revision.
    """

    device: Device
    kernels: Kernels
    rows: Annotated[tuple[Row, ...], msgspec.Meta(min_length=1)]
    operation: Operation = SORTING
    software: Software = {}
    launch_gap_us: LaunchGaps | None = None
    sweep: Sweep | None = None
    evidence: Kind = "measured"

    @property
    def key(self) -> EntryKey:
        """Return what tells this entry from the others of its table."""
        timing = self.sweep.timing if self.sweep else None
        device, kernels = self.device, self.kernels
        key = EntryKey(device.compute_units, kernels.provider, kernels.revision, timing, device.id)
        return key._replace(**self.condition._asdict(), operation=self.operation)

    @property
    def condition(self) -> Condition:
        """The work of the timed calls besides sorting; for published figures the usual one."""
        if self.sweep is not None:
            return self.sweep.condition
        return ALIGN_CONDITION if self.operation == ALIGN else Condition()

    @property
    def date(self) -> datetime.date:
        """The day of the sweep; for published figures the first of all days."""
        return self.sweep.date if self.sweep else datetime.date.min

    def get_kind(self, row: Row) -> Kind:
        """Return the origin of the figures of one of its rows."""
        return row.evidence.kind or self.evidence

    def complete(self, row: Row) -> Row:
        """Return a row of this entry with the sweep, software, device and kind that it shares with the entry."""
        return msgspec.structs.replace(
            row,
            sweep=row.sweep or self.sweep,
            software=row.software or self.software,
            device=row.device or self.device,
            evidence=msgspec.structs.replace(row.evidence, kind=self.get_kind(row)),
        )


class Table(Record, frozen=True):
    """Every entry of one architecture."""

    schema: int
    arch: Word
    tables: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1)]
