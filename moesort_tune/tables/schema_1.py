"""Version 1 of the format, read for files that older programs wrote; imported only where one is met.

Version 1 knew two kernels, oneshot and multiphase, and a limit of the first. It says nothing of the product, its rows
were measured with a moe_buf, and with a mask wherever the experts were spread over ranks. Masked rows could stand in an
entry of others: they become an entry of their own.
"""

import datetime
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, Condition, Timing
from moesort_tune.tables import schema as schema_2
from moesort_tune.tables.merge import set_rows
from moesort_tune.tables.schema import Count, Number, Range, Ratio, Record, Software, Text, TokenLimit, Word

KERNELS = (ONESHOT.name, MULTIPHASE.name)

LIMIT_FIELD = "oneshot_max_tokens"
"""Where a row has the limit of oneshot, the only one."""

Step = tuple[Count, Literal["oneshot", "multiphase"]]


class Device(Record, frozen=True):
    """The GPU that was measured."""

    name: Text
    compute_units: Count
    wavefront_size: Literal[32, 64]
    lds_bytes: Count

    def upgrade(self) -> schema_2.Device:
        """Return the device, its product unknown."""
        return schema_2.Device(**msgspec.structs.asdict(self))


class Kernels(Record, frozen=True):
    """Whose kernels were measured."""

    provider: Literal["builtin", "aiter"]
    revision: Text | None = None

    def upgrade(self) -> schema_2.Kernels:
        """Return the same."""
        return schema_2.Kernels(provider=self.provider, revision=self.revision)


class Sweep(Record, frozen=True):
    """When and under what settings the rows were measured."""

    date: datetime.date
    timing: Timing
    unit_size: Count
    model_dim: Count
    dtype: Text
    routing: Text
    seed: int
    ep: Count = 1
    cold: bool = False

    def upgrade(self) -> schema_2.Sweep:
        """Return the settings, masked where one of several ranks was measured."""
        return schema_2.Sweep(**msgspec.structs.asdict(self), masked=self.ep > 1)


class Evidence(Record, frozen=True):
    """The measurements that a row rests on."""

    points: TokenLimit | None = None
    noise: Number | None = None
    rule_loss: Ratio | None = None
    tokens: Range | None = None
    since: datetime.date | None = None
    learned: bool = False
    source: Text | None = None

    def upgrade(self, *, published: bool) -> schema_2.Evidence:
        """Return the evidence, its kind given where the row was learned and not published."""
        values = msgspec.structs.asdict(self)
        learned = values.pop("learned") and not published
        return schema_2.Evidence(**values, kind="learned" if learned else None)


class Row(Record, frozen=True):
    """The choice for one (num_experts, topk) at every token count."""

    num_experts: Count
    topk: Count
    oneshot_max_tokens: TokenLimit
    policy: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]
    tie: tuple[Range, ...] = ()
    evidence: Evidence = Evidence()
    sweep: Sweep | None = None
    software: Software | None = None
    device: Device | None = None

    def upgrade(self, *, published: bool) -> schema_2.Row:
        """Return the row with its limit, if oneshot has one, and with the names of both kernels in each tie."""
        limit = self.oneshot_max_tokens
        return schema_2.Row(
            num_experts=self.num_experts,
            topk=self.topk,
            limits={} if limit == MAX_TOKENS else {ONESHOT.name: limit},
            policy=self.policy,
            tie=tuple((first, last, KERNELS) for first, last in self.tie),
            evidence=self.evidence.upgrade(published=published),
            sweep=None if self.sweep is None else self.sweep.upgrade(),
            software=self.software,
            device=None if self.device is None else self.device.upgrade(),
        )


class Entry(Record, frozen=True):
    """The rows of one device, one set of kernels and one way of timing."""

    device: Device
    kernels: Kernels
    rows: Annotated[tuple[Row, ...], msgspec.Meta(min_length=1)]
    software: Software = msgspec.field(default_factory=dict)
    sweep: Sweep | None = None
    evidence: Literal["published"] | None = None

    def upgrade(self) -> schema_2.Entry:
        """Return the entry of moe_sorting, measured unless it says that it was published."""
        published = self.evidence == "published"
        return schema_2.Entry(
            device=self.device.upgrade(),
            kernels=self.kernels.upgrade(),
            rows=tuple(row.upgrade(published=published) for row in self.rows),
            software=self.software,
            sweep=None if self.sweep is None else self.sweep.upgrade(),
            evidence=self.evidence or "measured",
        )


class Table(Record, frozen=True):
    """Every entry of one architecture."""

    schema: int
    arch: Word
    tables: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1)]

    def upgrade(self) -> schema_2.Table:
        """Return the table in the version that this package writes."""
        return schema_2.Table(
            schema=schema_2.SCHEMA, arch=self.arch, tables=tuple(entry.upgrade() for entry in self.tables)
        )


def split_conditions(table: schema_2.Table) -> schema_2.Table:
    """Return an upgraded table with an entry for each condition of an entry's rows, the new ones at the end."""
    parts = [list(_split_entry(entry)) for entry in table.tables]
    entries = (*(entry for first, *_ in parts for entry in [first]), *(entry for _, *later in parts for entry in later))
    return msgspec.structs.replace(table, tables=entries)


def _split_entry(entry: schema_2.Entry) -> Iterator[schema_2.Entry]:
    """Yield the rows of each condition as an entry."""
    rows: dict[Condition, list[schema_2.Row]] = {}
    for row in map(entry.complete, entry.rows):
        condition = row.sweep.condition if row.sweep else entry.condition
        rows.setdefault(condition, []).append(row)
    for condition, alike in rows.items():
        yield set_rows(entry if condition == entry.condition else _take_origin(entry, alike[0]), alike)


def _take_origin(entry: schema_2.Entry, row: schema_2.Row) -> schema_2.Entry:
    """Return an entry of the device, software and sweep of one of its complete rows."""
    return msgspec.structs.replace(
        entry, device=row.device or entry.device, software=row.software or {}, sweep=row.sweep
    )
