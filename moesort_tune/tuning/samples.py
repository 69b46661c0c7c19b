"""The sidecar `<table>.samples.csv`: every measured point, on disk as soon as it is measured."""

import csv
import fcntl
import io
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular, open_regular_to_append


@dataclass(frozen=True)
class Sample:
    """What one kernel took at one token count; one line of the file, columns in this order.

    median_us, low_us, high_us: median time and its interval, in microseconds.
    samples: rounds that counted.
    settings: what besides the other columns the measurement depends on, see Settings.signature.
    verdict, noise, ratio: the same on both lines of a token count. The ratio is oneshot / multiphase with its interval,
    empty where only one kernel was legal; noise is the relative deviation of one round's ratio.
    """

    date: str
    arch: str
    compute_units: int
    provider: str
    revision: str
    timing: str
    num_experts: int
    topk: int
    tokens: int
    kernel: str
    median_us: float
    low_us: float
    high_us: float
    samples: int
    note: str
    settings: str
    verdict: str
    noise: float
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


COLUMNS = tuple(field.name for field in fields(Sample))
TICK_US = 1e-6
"""Less than any time, and any ratio of two, that was ever measured."""

_INTEGERS = {"compute_units", "num_experts", "topk", "tokens", "samples"}
_TIMES = {"median_us", "low_us", "high_us"}
_RATIOS = {"ratio", "ratio_low", "ratio_high"}
_NAMES = {"kernel": {"oneshot", "multiphase"}, "verdict": {"oneshot", "multiphase", "tie"}}


def samples_path(table: Path) -> Path:
    """Where the samples of `table` lie: tables/gfx942.samples.csv for tables/gfx942.yaml."""
    return table.with_suffix(".samples.csv")


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Adds lines and waits until they are on disk; safe with several writers.

    A line that a crash left unfinished is ended first. Raises MoesortTuneError where the file cannot be
    written.
    """
    text = _as_csv(samples)
    try:
        with open_regular_to_append(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write((_before_append(file) + text).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MoesortTuneError(f"cannot write samples to {path}: {error.strerror}") from error


def read_samples(path: Path) -> list[Sample]:
    """All whole lines of the file; a missing file has none, and a torn line is left out.

    Raises MoesortTuneError if the file cannot be read or has other columns.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MoesortTuneError(f"cannot read samples from {path}: {error.strerror}") from error
    try:
        header, *lines = list(csv.reader(io.StringIO(text))) or [list(COLUMNS)]
    except csv.Error as error:
        raise MoesortTuneError(f"cannot read samples from {path}: {error}") from error
    if tuple(header) != COLUMNS:
        raise MoesortTuneError(f"{path} does not have the columns of a samples file; move it away to start a new one")
    return [sample for line in lines if (sample := _parsed(line)) is not None]


def _as_csv(samples: Iterable[Sample]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(["" if value is None else value for value in asdict(s).values()] for s in samples)
    return text.getvalue()


def _before_append(file: io.BufferedRandom) -> str:
    """What must come before new lines: the header in a new file, the end of a torn last line."""
    if file.seek(0, os.SEEK_END) == 0:
        return ",".join(COLUMNS) + "\n"
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"


def _parsed(line: list[str]) -> Sample | None:
    if len(line) != len(COLUMNS):
        return None
    try:
        values = {name: _value(name, text) for name, text in zip(COLUMNS, line, strict=True)}
    except ValueError:
        return None
    return Sample(**values)  # type: ignore[arg-type]


def _value(name: str, text: str) -> str | int | float | None:
    """The text of one field as what it means; raises ValueError where it means nothing."""
    if name in _INTEGERS:
        return int(text)
    if name in _RATIOS and not text:
        return None
    if name in _TIMES or name in _RATIOS or name == "noise":
        return _plausible(float(text), least=0.0 if name == "noise" else TICK_US)
    if text not in _NAMES.get(name, {text}) or not text.isprintable():
        raise ValueError(f"{text!r} is no {name}")
    return text


def _plausible(value: float, least: float) -> float:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{value} is no measurement")
    return value
