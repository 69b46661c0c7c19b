"""The sidecar `<table>.samples.csv`: every measured point, on disk as soon as it is measured."""

import csv
import fcntl
import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from moesort_tune.errors import MoesortTuneError


@dataclass(frozen=True)
class Sample:
    """What one kernel took at one token count; one line of the file, columns in this order.

    median_us, low_us, high_us: median time and its interval, in microseconds.
    samples: rounds that counted.
    settings: what besides the other columns the measurement depends on, see Settings.signature.
    verdict, ratio, ratio_low, ratio_high, noise: of both kernels, the same on both lines of a token count;
    empty where only one kernel was legal. The ratio is oneshot / multiphase, noise the relative deviation of
    one round's ratio.
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
    verdict: str = ""
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    noise: float | None = None


COLUMNS = tuple(field.name for field in fields(Sample))
_INTEGERS = {"compute_units", "num_experts", "topk", "tokens", "samples"}
_TIMES = {"median_us", "low_us", "high_us"}
_OPTIONAL = {"ratio", "ratio_low", "ratio_high", "noise"}


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
        with path.open("a+b") as file:
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
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MoesortTuneError(f"cannot read samples from {path}: {error.strerror}") from error
    lines = csv.reader(io.StringIO(text))
    header = next(lines, None)
    if header is not None and tuple(header) != COLUMNS:
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
    if name in _INTEGERS:
        return int(text)
    if name in _TIMES:
        return float(text)
    if name in _OPTIONAL:
        return float(text) if text else None
    return text
