"""Where a sweep's results go: samples at once into the sidecar, rows into the table as soon as they are whole."""

import datetime
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast, get_args

import msgspec

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.engine import Measurement
from moesort_tune.sweep.records import Conditions, MeasuredPoint, origin_of, points_in, samples_of, software_text
from moesort_tune.sweep.samples import Sample, append_samples, read_samples, samples_path
from moesort_tune.sweep.search import TokenRange
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.keeping import differing_origins, reasons_to_keep
from moesort_tune.tables.schema import Device, Entry, Evidence, Kernels, Provider, Row
from moesort_tune.tables.schema import Sweep as SweepRecord

WAVEFRONT_SIZES: Final = (32, 64)
"""What the schema knows."""


def check_folder(folder: Path) -> None:
    """Makes `folder` and raises MoesortTuneError where it cannot be written, before anything is measured for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MoesortTuneError(
            f"cannot write into {folder}: {error.strerror}; name a file in another folder with --out"
        ) from error


def check_table(table: Path, arch: str) -> None:
    """Raises MoesortTuneError where `table` exists and is not a valid table of `arch`."""
    if table.exists() and (there := store.load(table).arch) != arch:
        raise MoesortTuneError(f"{table} holds the table of {there}, not of {arch}; name another file with --out")


@dataclass
class TableSink:
    """Writes one sweep's results.

    resume: whether samples of earlier sweeps with the same seed and margin are taken instead of measuring again.
    replace: whether rows are made of this sweep alone, and take the place of any that is there.
    """

    table: Path
    conditions: Conditions
    resume: bool = False
    replace: bool = False
    today: datetime.date = field(default_factory=datetime.date.today)
    _earlier: list[Sample] = field(init=False)

    def __post_init__(self) -> None:
        entry_of(self.conditions, self.today)  # refused now, if a table cannot say it
        self._earlier = read_samples(self.samples)  # refused now, if it is no samples file

    @property
    def samples(self) -> Path:
        """The sidecar's path."""
        return samples_path(self.table)

    def known(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points that an earlier sweep measured."""
        if not self.resume:
            return {}
        return points_in(self._earlier, conditions=self.conditions, shape=shape, oneshot_max_tokens=oneshot_max_tokens)

    def kept(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points that a row rests on beside those of this sweep, also when another sweep is measuring them now."""
        if self.replace:
            return {}
        return points_in(
            read_samples(self.samples),
            conditions=self.conditions,
            shape=shape,
            oneshot_max_tokens=oneshot_max_tokens,
            any_seed=True,
        )

    def reasons_to_stay(
        self, shapes: Iterable[Shape], tokens: TokenRange, limit_of: Callable[[Shape], int]
    ) -> list[str]:
        """Return why a sweep of these shapes and this range would be refused in the end, a sentence a row."""
        if self.replace or not self.table.exists():
            return []
        table = store.load(self.table)
        known = {row.shape for entry in table.tables for row in entry.rows}
        planned = [shape for shape in shapes if (shape.num_experts, shape.topk) in known]
        rows = [self._planned(shape, tokens, limit_of(shape)) for shape in planned]
        return reasons_to_keep(table, entry_of(self.conditions, self.today, *rows)) if rows else []

    def _planned(self, shape: Shape, tokens: TokenRange, oneshot_max_tokens: int) -> Row:
        """A row of nothing but the token range that it will have."""
        counts = {tokens.first, tokens.last, *self.kept(shape, oneshot_max_tokens)}
        evidence = Evidence(tokens=(min(counts), max(counts)))
        return Row(num_experts=shape.num_experts, topk=shape.topk, oneshot_max_tokens=0, policy=(), evidence=evidence)

    def doubts(self) -> Iterator[str]:
        """Tell what the rows that stay, and the samples that --resume leaves out, were measured with instead."""
        ours = entry_of(self.conditions, self.today)
        entries = store.load(self.table).tables if self.table.exists() else ()
        theirs = [entry.complete(row) for entry in entries if entry.key == ours.key for row in entry.rows]
        mine = ours.complete(self._planned(Shape(1, 1), TokenRange(1, 1), 0))
        for what, now, before in differing_origins([mine], theirs):
            yield (
                f"{self.table} has rows measured with {what} {before}, and this sweep has {now}; each row keeps its own"
            )
        if self.resume and (left_out := self._samples_of_other_software()):
            yield (
                f"{left_out} lines of {self.samples} are not taken by --resume: they were not measured, or do"
                f" not say so, on {self.conditions.facts.name} with {software_text(self.conditions.software)}"
            )

    def _samples_of_other_software(self) -> int:
        origin = self.conditions.origin
        others = (origin_of(sample) for sample in self._earlier)
        return sum(
            one != origin and one._replace(device=origin.device, software=origin.software) == origin for one in others
        )

    def measured(self, shape: Shape, tokens: int, measurement: Measurement) -> None:
        """Appends the point to the sidecar and waits until it is on disk."""
        lines = samples_of(
            measurement, conditions=self.conditions, shape=shape, tokens=tokens, date=self.today.isoformat()
        )
        append_samples(self.samples, lines)

    def row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Puts the row into the table with the days of its points; everything else stays.

        Raises RowKeptError where the row that is there is worth more.
        """
        days = {point.day or self.today for point in points.values()}
        since = min(days) if len(days) > 1 else None
        row = msgspec.structs.replace(row, evidence=msgspec.structs.replace(row.evidence, since=since))
        entry = entry_of(self.conditions, max(days), row)
        store.add_entry(self.table, self.conditions.facts.arch, entry, replace=self.replace, finished=finished)
        return row


def entry_of(conditions: Conditions, day: datetime.date, *rows: Row) -> Entry:
    """The table's entry of this device, these kernels and this timing. Raises TableError for what no table can say."""
    facts = conditions.facts
    if facts.provider not in get_args(Provider):
        raise TableError(f"a table holds the kernels of {' or '.join(get_args(Provider))}, not of {facts.provider!r}")
    if facts.wavefront_size not in WAVEFRONT_SIZES:
        raise TableError(f"a table holds devices with waves of 32 or 64 lanes, not of {facts.wavefront_size}")
    return Entry(
        device=Device(
            name=facts.name,
            compute_units=facts.compute_units,
            wavefront_size=cast(Literal[32, 64], facts.wavefront_size),
            lds_bytes=facts.lds_bytes,
        ),
        software=conditions.software,
        kernels=Kernels(provider=cast(Provider, facts.provider), revision=facts.revision),
        sweep=sweep_record(conditions.settings, day),
        rows=rows,
    )


def sweep_record(settings: Settings, day: datetime.date) -> SweepRecord:
    """Return what a table records of a sweep of that day."""
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
    )
