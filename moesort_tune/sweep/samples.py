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
from typing import BinaryIO

from moesort_tune.domain.vocabulary import MAX_TOKENS, NAME_PATTERN, TIMINGS
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.registry import find_facts
from moesort_tune.regular_files import open_regular, open_regular_to_append
from moesort_tune.sweep.older_samples import OLDER_COLUMNS, translate
from moesort_tune.whole_file import replace_file


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The times of one kernel at one token count; one line of the file, columns in this order.

    median_us, low_us, high_us: median time and its interval, in microseconds.
    samples: rounds that counted; note: why there were no more, for a person.
    settings: whatever else the measurement depends on, see Settings.format_signature. moe_buf: the kernels zeroed one;
    masked: they were given a local_expert_mask.
    verdict: the best kernels of the token count, 'oneshot' or, in a tie, 'oneshot=multiphase'.
    against: the fastest kernel of the token count, with which this line's kernel was compared; empty on the fastest
    one's own line and where a kernel was timed alone, and so is the ratio. noise: relative deviation of one round's
    ratio; on the fastest kernel's line the largest of the token count.
    ratio, ratio_low, ratio_high: the earlier of the two in the candidates' order over the later, with its interval.
    settled: the stopping rule got its answer before a limit. dropped: rounds in which the device's clock moved.
    confirmed: the point's second measurement, whose verdict is what both agree on.
    device: name; device_id, pci_address, host: see DeviceFacts; software: versions by name, 'compiler=...;driver=...'.
    Each is empty where it is not known.
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
    moe_buf: bool = True
    masked: bool = False
    verdict: str
    noise: float
    against: str = ""
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    settled: bool = True
    dropped: int = 0
    confirmed: bool = False
    device: str = ""
    device_id: str = ""
    pci_address: str = ""
    host: str = ""
    software: str = ""


COLUMNS = tuple(field.name for field in fields(Sample))

TICK_US = 1e-6
"""Less than any time, and any ratio of two, that was ever measured."""

_INTEGERS = {"compute_units", "num_experts", "topk", "tokens", "samples", "dropped"}
_TIMES = {"median_us", "low_us", "high_us"}
_RATIOS = {"ratio", "ratio_low", "ratio_high"}
_TRUTHS = {"moe_buf", "masked", "settled", "confirmed"}
_NAME = re.compile(NAME_PATTERN, re.ASCII)


def get_samples_path(table: Path) -> Path:
    """Return where the samples of `table` lie: tables/gfx942.samples.csv for tables/gfx942.yaml."""
    return table.with_suffix(".samples.csv")


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Add lines and wait until they are on disk; safe with several writers.

    A line that a crash left unfinished is ended first, and a file of older columns is written anew. Raise
    MoesortTuneError where the file cannot be written.
    """
    text = _format(samples)
    try:
        while not _append(path, text):
            pass
    except OSError as error:
        raise MoesortTuneError(f"cannot write samples to {path}: {error.strerror}") from error


def _append(path: Path, text: str) -> bool:
    """Add `text` at the end; return False where the file had to be, or meanwhile was, replaced by one of COLUMNS."""
    with open_regular_to_append(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is_at(path, file):
            return False
        file.seek(0)
        if tuple(file.readline().decode(errors="replace").rstrip("\r\n").split(",")) in OLDER_COLUMNS:
            renew(path)
            return False
        file.write((_choose_prefix(file) + text).encode())
        file.flush()
        os.fsync(file.fileno())
        return True


def renew(path: Path) -> None:
    """Write a file of older columns anew with today's."""
    replace_file(path.resolve(), (",".join(COLUMNS) + "\n" + _format(read_samples(path))).encode())


def _is_at(path: Path, file: io.BufferedRandom) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def read_samples(path: Path) -> list[Sample]:
    """Read all whole lines of the file; a missing file has none, and a torn line is left out.

    Raise MoesortTuneError if the file cannot be read or has other columns.
    """
    return SamplesReader(path).read()


class SamplesReader:
    """Read a samples file again and again, what was read before only once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._samples: list[Sample] = []
        self._columns: tuple[str, ...] | None = None
        self._file: tuple[int, int] | None = None
        self._read_bytes = 0

    def read(self) -> list[Sample]:
        """Return all samples that are there now; see read_samples."""
        try:
            with open_regular(self._path) as file:
                unended = self._read_on(file)
            return [*self._samples, *unended]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise MoesortTuneError(f"cannot read samples from {self._path}: {error.strerror}") from error
        except csv.Error as error:
            raise MoesortTuneError(f"cannot read samples from {self._path}: {error}") from error

    def _read_on(self, file: BinaryIO) -> list[Sample]:
        """Keep the lines that were added, all where the file is another one than before; return that of no end yet."""
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != self._file or status.st_size < self._read_bytes:
            self._file = (status.st_dev, status.st_ino)
            self._samples, self._columns, self._read_bytes = [], None, 0
        file.seek(self._read_bytes)
        whole, end, rest = file.read().rpartition(b"\n")
        self._samples += self._parse_lines(whole)
        self._read_bytes += len(whole) + len(end)
        return self._parse_lines(rest)

    def _parse_lines(self, data: bytes) -> list[Sample]:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8", errors="replace"))))
        if self._columns is None and lines:
            self._columns = _check_columns(self._path, tuple(lines.pop(0)))
        return [sample for line in lines if (sample := _parse(self._columns or (), line)) is not None]


def _check_columns(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    if columns not in (COLUMNS, *OLDER_COLUMNS):
        raise MoesortTuneError(f"{path} does not have the columns of a samples file; move it away to start a new one")
    return columns


def _format(samples: Iterable[Sample]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(_format_field, asdict(sample).values()) for sample in samples)
    return text.getvalue()


def _format_field(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


def _choose_prefix(file: io.BufferedRandom) -> str:
    """Return the text before new lines: the header in a new file, the end of a torn last line."""
    if file.seek(0, os.SEEK_END) == 0:
        return ",".join(COLUMNS) + "\n"
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"


def _parse(columns: tuple[str, ...], line: list[str]) -> Sample | None:
    if len(line) != len(columns):
        return None
    texts = dict(zip(columns, line, strict=True))
    try:
        if columns != COLUMNS:
            texts = translate(texts)
        values = {name: _parse_value(name, text) for name, text in texts.items()}
        sample = Sample(**values)  # type: ignore[arg-type]
    except (ValueError, KeyError):
        return None
    return sample if _has_known_kernels(sample) and all(map(_is_ascending, _list_intervals(sample))) else None


def _has_known_kernels(sample: Sample) -> bool:
    """Return whether the kernels that a line names are its provider's, as far as that is known here."""
    facts = find_facts(sample.provider)
    if facts is None:
        return True
    candidates = {"", *(candidate.name for candidate in facts.candidates)}
    return candidates.issuperset((sample.kernel, sample.against, *sample.verdict.split("=")))


def _list_intervals(sample: Sample) -> Iterator[tuple[float | None, ...]]:
    """Yield low end, median and high end of the times and of the ratio."""
    yield sample.low_us, sample.median_us, sample.high_us
    yield sample.ratio_low, sample.ratio, sample.ratio_high


def _is_ascending(interval: tuple[float | None, ...]) -> bool:
    """Return whether the median lies in its interval; where one of the three is empty all are."""
    known = [value for value in interval if value is not None]
    return len(known) in (0, 3) and known == sorted(known)


def _parse_value(name: str, text: str) -> str | int | float | bool | None:
    """Return the value of one field; raise ValueError where its text means nothing."""
    if name in _INTEGERS:
        return _check_count(int(text), least=0 if name == "dropped" else 1)
    if name in _TRUTHS:
        return {"true": True, "false": False}[text]
    if name in _RATIOS and not text:
        return None
    if name in _TIMES or name in _RATIOS or name == "noise":
        return _check_measure(float(text), least=0.0 if name == "noise" else TICK_US)
    if name == "date":
        return datetime.date.fromisoformat(text).isoformat()
    return _check_word(name, text)


def _check_word(name: str, text: str) -> str:
    names = {"verdict": text.split("="), "provider": [text], "kernel": [text], "against": [text] if text else []}
    known = text in TIMINGS if name == "timing" else all(map(_NAME.fullmatch, names.get(name, ())))
    if not known or not text.isprintable():
        raise ValueError(f"{text!r} is no {name}")
    return text


def _check_count(value: int, least: int) -> int:
    if not least <= value <= MAX_TOKENS:
        raise ValueError(f"{value} is no count")
    return value


def _check_measure(value: float, least: float) -> float:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{value} is no measurement")
    return value
