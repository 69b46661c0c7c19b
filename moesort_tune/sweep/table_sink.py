"""Write a sweep's results: samples at once into the sidecar, rows into the table as soon as they are whole."""

import datetime
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

import msgspec

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Measurement
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import (
    Conditions,
    MeasuredPoint,
    Origin,
    build_samples,
    find_card_points,
    format_software,
    get_origin,
)
from moesort_tune.sweep.samples import Sample, SamplesReader, append_samples, get_samples_path
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import find_differing_origins, list_reasons_to_keep
from moesort_tune.tables.schema import Device, Entry, Evidence, Kernels, LaunchGaps, Row
from moesort_tune.tables.schema import Sweep as SweepRecord

WAVEFRONT_SIZES: Final = (32, 64)
"""Sizes that the schema knows."""


def check_folder(folder: Path) -> None:
    """Create `folder`; raise MoesortTuneError where it cannot be written, before anything is measured for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MoesortTuneError(
            f"cannot write into {folder}: {error.strerror}; name a file in another folder with --out"
        ) from error


def check_table(table: Path, arch: str) -> None:
    """Raise MoesortTuneError where `table` exists and is not a valid table of `arch`."""
    if table.exists() and (there := store.load(table).arch) != arch:
        raise MoesortTuneError(f"{table} holds the table of {there}, not of {arch}; name another file with --out")


@dataclass
class TableSink:
    """Write the results of one condition of a sweep.

    resume: whether samples of earlier sweeps with the same seed and margin are taken instead of measuring again.
    replace: whether rows are made of this sweep alone, and take the place of any that is there.
    reader: of the samples, where several conditions share one. launch_gap_us: of the device, where it was measured.
    """

    table: Path
    conditions: Conditions
    resume: bool = False
    replace: bool = False
    today: datetime.date = field(default_factory=datetime.date.today)
    reader: SamplesReader | None = None
    launch_gap_us: LaunchGaps | None = None
    _reader: SamplesReader = field(init=False)
    _earlier: list[Sample] = field(init=False)

    def __post_init__(self) -> None:
        build_entry(self.conditions, self.today)  # refused now, if a table cannot say it
        self._reader = self.reader or SamplesReader(self.samples)
        self._earlier = self._reader.read()  # refused now, if it is no samples file

    @property
    def samples(self) -> Path:
        """The sidecar's path."""
        return get_samples_path(self.table)

    def find_known(self, shape: Shape, limits: Limits) -> dict[int, dict[Card, MeasuredPoint]]:
        """Return points that an earlier sweep measured."""
        if not self.resume:
            return {}
        return find_card_points(self._earlier, conditions=self.conditions, shape=shape, limits=limits)

    def find_kept(self, shape: Shape, limits: Limits) -> dict[int, dict[Card, MeasuredPoint]]:
        """Return points that a row rests on beside those of this sweep, also if another sweep is measuring them now."""
        if self.replace:
            return {}
        return find_card_points(
            self._reader.read(),
            conditions=self.conditions,
            shape=shape,
            limits=limits,
            any_seed=True,
        )

    def list_reasons_to_stay(
        self, shapes: Iterable[Shape], tokens: TokenRange, limits_of: Callable[[Shape], Limits]
    ) -> list[str]:
        """Return why a sweep of these shapes and this range would be refused in the end, a sentence a row."""
        if self.replace or not self.table.exists():
            return []
        table = store.load(self.table)
        known = {row.shape for entry in table.tables for row in entry.rows}
        planned = [shape for shape in shapes if (shape.num_experts, shape.topk) in known]
        rows = [self._plan_row(shape, tokens, limits_of(shape)) for shape in planned]
        return list_reasons_to_keep(table, build_entry(self.conditions, self.today, *rows)) if rows else []

    def _plan_row(self, shape: Shape, tokens: TokenRange, limits: Limits) -> Row:
        """Return a row of nothing but the token range that it will have."""
        counts = {tokens.first, tokens.last, *self.find_kept(shape, limits)}
        evidence = Evidence(tokens=(min(counts), max(counts)))
        return Row(num_experts=shape.num_experts, topk=shape.topk, policy=(), evidence=evidence)

    def list_doubts(self) -> Iterator[str]:
        """Yield how the rows that stay, and the samples that --resume leaves out, were measured otherwise."""
        ours = build_entry(self.conditions, self.today)
        entries = store.load(self.table).tables if self.table.exists() else ()
        theirs = [entry.complete(row) for entry in entries if entry.key == ours.key for row in entry.rows]
        mine = ours.complete(self._plan_row(Shape(1, 1), TokenRange(1, 1), {}))
        for what, now, before in find_differing_origins([mine], theirs):
            yield (
                f"{self.table} has rows measured with {what} {before}, and this sweep has {now}; each row keeps its own"
            )
        if self.resume and (left_out := self._count_samples_of_other_software()):
            yield (
                f"{left_out} lines of {self.samples} are not taken by --resume: they were not measured, or do"
                f" not say so, on {self.conditions.facts.name} with {format_software(self.conditions.software)}"
            )

    def _count_samples_of_other_software(self) -> int:
        ours = self.conditions.origin
        others = (get_origin(sample) for sample in self._earlier)
        return sum(one != ours and self._on_this_device(one) == ours for one in others)

    def _on_this_device(self, origin: Origin) -> Origin:
        """Return `origin` as if its samples had been measured on this device with this software."""
        ours = self.conditions.origin
        return origin._replace(device=ours.device, device_id=ours.device_id, software=ours.software)

    def keep_point(self, shape: Shape, tokens: int, measurement: Measurement, facts: DeviceFacts) -> None:
        """Append the point to the sidecar and wait until it is on disk."""
        lines = build_samples(
            measurement,
            conditions=self.conditions,
            shape=shape,
            tokens=tokens,
            date=self.today.isoformat(),
            facts=facts,
        )
        append_samples(self.samples, lines)

    def keep_row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Put the row into the table with the days of its points; everything else stays.

        Raise RowKeptError where the row that is there is worth more.
        """
        days = {day or self.today for point in points.values() for day in (point.day, point.since or point.day)}
        since = min(days) if len(days) > 1 else None
        row = msgspec.structs.replace(row, evidence=msgspec.structs.replace(row.evidence, since=since))
        entry = build_entry(self.conditions, max(days), row, launch_gap_us=self.launch_gap_us)
        store.add_entry(self.table, self.conditions.facts.arch, entry, replace=self.replace, finished=finished)
        return row


def build_entry(
    conditions: Conditions, day: datetime.date, *rows: Row, launch_gap_us: LaunchGaps | None = None
) -> Entry:
    """Return the table's entry of this device, these kernels and this timing. Raise TableError for unknown devices."""
    facts = conditions.facts
    if facts.wavefront_size not in WAVEFRONT_SIZES:
        raise TableError(f"a table holds devices with waves of 32 or 64 lanes, not of {facts.wavefront_size}")
    return Entry(
        device=Device(
            name=facts.name,
            compute_units=facts.compute_units,
            wavefront_size=cast(Literal[32, 64], facts.wavefront_size),
            lds_bytes=facts.lds_bytes,
            id=facts.device_id or None,
        ),
        software=conditions.software,
        launch_gap_us=launch_gap_us,
        kernels=Kernels(provider=facts.provider, revision=facts.revision),
        sweep=build_sweep_record(conditions.settings, day),
        rows=rows,
        operation=find_operation(facts.provider),
    )


def build_sweep_record(settings: Settings, day: datetime.date) -> SweepRecord:
    """Return the record of a sweep of that day, as a table keeps it."""
    return SweepRecord(
        date=day,
        timing=settings.timing,
        unit_size=settings.unit_size,
        model_dim=settings.model_dim,
        dtype=settings.dtype,
        routing=settings.routing,
        seed=settings.seed,
        ep=settings.ep,
        cold=settings.cold,
        moe_buf=settings.moe_buf,
        masked=settings.masked,
    )
