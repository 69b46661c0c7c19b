"""The sidecar `<table>.samples.csv`: every measured point, on disk as soon as it is measured."""

import csv
import datetime
import fcntl
import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular, open_regular_to_append
from moesort_tune.whole_file import replace_file


@dataclass(frozen=True)
class Sample:
    """What one kernel took at one token count; one line of the file, columns in this order.

    median_us, low_us, high_us: median time and its interval, in microseconds.
    samples: rounds that counted; note: why there were no more, for a person.
    settings: what besides the other columns the measurement depends on, see Settings.signature.
    verdict, noise, ratio: the same on both lines of a token count, and so are the fields that follow. The ratio is
    oneshot / multiphase with its interval, empty where only one kernel was legal; noise is the relative deviation of
    one round's ratio.
    settled: the stopping rule got its answer before a limit. dropped: rounds in which the device's clock moved.
    confirmed: the point's second measurement, whose verdict is what both agree on.
    device: name; software: versions by name, 'compiler=...;driver=...'. Both are empty where they are not known.
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
    settled: bool = True
    dropped: int = 0
    confirmed: bool = False
    device: str = ""
    software: str = ""


COLUMNS = tuple(field.name for field in fields(Sample))
OLD_COLUMNS = COLUMNS[: COLUMNS.index("settled")]
"""Of files made before what follows had columns; part of it stood in the note."""

TICK_US = 1e-6
"""Less than any time, and any ratio of two, that was ever measured."""

_INTEGERS = {"compute_units", "num_experts", "topk", "tokens", "samples", "dropped"}
_TIMES = {"median_us", "low_us", "high_us"}
_RATIOS = {"ratio", "ratio_low", "ratio_high"}
_TRUTHS = {"settled", "confirmed"}
_NAMES = {
    "provider": {"builtin", "aiter"},
    "timing": {"graph", "eager"},
    "kernel": {"oneshot", "multiphase"},
    "verdict": {"oneshot", "multiphase", "tie"},
}


def samples_path(table: Path) -> Path:
    """Where the samples of `table` lie: tables/gfx942.samples.csv for tables/gfx942.yaml."""
    return table.with_suffix(".samples.csv")


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Adds lines and waits until they are on disk; safe with several writers.

    A line that a crash left unfinished is ended first, and a file of OLD_COLUMNS gets the others. Raises
    MoesortTuneError where the file cannot be written.
    """
    text = _as_csv(samples)
    try:
        while not _appended(path, text):
            pass
    except OSError as error:
        raise MoesortTuneError(f"cannot write samples to {path}: {error.strerror}") from error


def _appended(path: Path, text: str) -> bool:
    """Adds `text` at the end, unless the file has to be, or meanwhile was, replaced by one with today's columns."""
    with open_regular_to_append(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is_at(path, file):
            return False
        file.seek(0)
        if tuple(file.readline().decode(errors="replace").rstrip("\r\n").split(",")) == OLD_COLUMNS:
            replace_file(path.resolve(), (",".join(COLUMNS) + "\n" + _as_csv(read_samples(path))).encode())
            return False
        file.write((_before_append(file) + text).encode())
        file.flush()
        os.fsync(file.fileno())
        return True


def _is_at(path: Path, file: io.BufferedRandom) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


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
    columns = tuple(header)
    if columns not in (COLUMNS, OLD_COLUMNS):
        raise MoesortTuneError(f"{path} does not have the columns of a samples file; move it away to start a new one")
    return [sample for line in lines if (sample := _parsed(columns, line)) is not None]


def _as_csv(samples: Iterable[Sample]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(_field, asdict(sample).values()) for sample in samples)
    return text.getvalue()


def _field(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


def _before_append(file: io.BufferedRandom) -> str:
    """What must come before new lines: the header in a new file, the end of a torn last line."""
    if file.seek(0, os.SEEK_END) == 0:
        return ",".join(COLUMNS) + "\n"
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"


def _parsed(columns: tuple[str, ...], line: list[str]) -> Sample | None:
    if len(line) != len(columns):
        return None
    try:
        values = {name: _value(name, text) for name, text in zip(columns, line, strict=True)}
    except (ValueError, KeyError):
        return None
    if columns == OLD_COLUMNS:
        values |= _said_in(str(values["note"]))
    sample = Sample(**values)  # type: ignore[arg-type]
    return sample if all(_ascends(interval) for interval in _intervals(sample)) else None


def _said_in(note: str) -> dict[str, bool | int]:
    """What the note of a line of OLD_COLUMNS says in words."""
    dropped = re.search(r"(\d+) dropped", note)
    return {
        "settled": "stopped at the limit" not in note,
        "dropped": int(dropped[1]) if dropped else 0,
        "confirmed": note.startswith("both times"),
    }


def _intervals(sample: Sample) -> Iterator[tuple[float | None, ...]]:
    """Low end, median and high end of the times and of the ratio."""
    yield sample.low_us, sample.median_us, sample.high_us
    yield sample.ratio_low, sample.ratio, sample.ratio_high


def _ascends(interval: tuple[float | None, ...]) -> bool:
    """Whether the median lies in its interval; where one of the three is empty all are."""
    known = [value for value in interval if value is not None]
    return len(known) in (0, 3) and known == sorted(known)


def _value(name: str, text: str) -> str | int | float | bool | None:
    """The text of one field as what it means; raises ValueError where it means nothing."""
    if name in _INTEGERS:
        return _counted(int(text), least=0 if name == "dropped" else 1)
    if name in _TRUTHS:
        return {"true": True, "false": False}[text]
    if name in _RATIOS and not text:
        return None
    if name in _TIMES or name in _RATIOS or name == "noise":
        return _plausible(float(text), least=0.0 if name == "noise" else TICK_US)
    if name == "date":
        return datetime.date.fromisoformat(text).isoformat()
    if text not in _NAMES.get(name, {text}) or not text.isprintable():
        raise ValueError(f"{text!r} is no {name}")
    return text


def _counted(value: int, least: int) -> int:
    if not least <= value <= MAX_TOKENS:
        raise ValueError(f"{value} is no count")
    return value


def _plausible(value: float, least: float) -> float:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{value} is no measurement")
    return value
