"""Where a sweep's results go: samples at once into the sidecar, rows into the table as soon as they are whole."""

import datetime
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from moesort_tune import __version__
from moesort_tune.errors import MoesortTuneError
from moesort_tune.tables import store
from moesort_tune.tables.schema import Device, Entry, Kernels, Row
from moesort_tune.tables.schema import Sweep as SweepRecord
from moesort_tune.tuning.messages import DeviceFacts
from moesort_tune.tuning.records import Conditions, MeasuredPoint, points_in, samples_of
from moesort_tune.tuning.samples import Sample, append_samples, read_samples, samples_path
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.timing import Measurement


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
    """Writes one sweep's results. resume: whether samples of earlier sweeps under the same conditions count."""

    table: Path
    conditions: Conditions
    resume: bool
    today: datetime.date = field(default_factory=datetime.date.today)
    _earlier: list[Sample] = field(init=False)

    def __post_init__(self) -> None:
        earlier = read_samples(self.samples)  # refused now, if it is no samples file
        self._earlier = earlier if self.resume else []

    @property
    def samples(self) -> Path:
        """The sidecar's path."""
        return samples_path(self.table)

    def known(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points that an earlier sweep measured."""
        return points_in(self._earlier, conditions=self.conditions, shape=shape, oneshot_max_tokens=oneshot_max_tokens)

    def measured(self, shape: Shape, tokens: int, measurement: Measurement) -> None:
        """Appends the point to the sidecar and waits until it is on disk."""
        lines = samples_of(
            measurement, conditions=self.conditions, shape=shape, tokens=tokens, date=self.today.isoformat()
        )
        append_samples(self.samples, lines)

    def row(self, row: Row) -> None:
        """Puts the row into the table; a row of the same shape is replaced, everything else stays."""
        entry = entry_of(self.conditions.facts, self.conditions.settings, self.today, row)
        store.add_entry(self.table, self.conditions.facts.arch, entry)


def entry_of(facts: DeviceFacts, settings: Settings, today: datetime.date, row: Row) -> Entry:
    """The table's entry of this device, these kernels and this timing, with one row."""
    return Entry(
        device=Device(
            name=facts.name,
            compute_units=facts.compute_units,
            wavefront_size=64 if facts.wavefront_size == 64 else 32,
            lds_bytes=facts.lds_bytes,
        ),
        software={
            "hip": facts.hip,
            "driver": facts.driver,
            "compiler": facts.compiler,
            "moesort_tune": __version__,
        },
        kernels=Kernels(provider="aiter" if facts.provider == "aiter" else "builtin", revision=facts.revision),
        sweep=SweepRecord(
            date=today,
            timing=settings.timing,
            unit_size=settings.unit_size,
            model_dim=settings.model_dim,
            dtype=settings.dtype,
            routing=settings.routing,
            seed=settings.seed,
            ep=settings.ep,
            cold=settings.cold,
        ),
        rows=(row,),
    )
