"""The file in which a serving process reports its sorting calls: one JSON document a process and function."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final

import msgspec

from moesort_tune.audit.tally import SORTING, Count, Kind
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular
from moesort_tune.tables.errors import format_path

SCHEMA: Final = 1

SUFFIX: Final = ".audit.json"
"""Ends the names of these files; others in the folder are not read."""

MAX_BYTES: Final = 1 << 22
"""Largest file that is read; MAX_KINDS kinds of calls take less than a quarter of it."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class RecordError(MoesortTuneError):
    """A file that is no record of a process."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a serving framework, or what it counted for one of its installations.

    started: UTC, ISO 8601. token: what tells it from others with the same number. command: the beginning of its command
    line.
    """

    pid: Positive
    host: str
    started: str
    token: str
    command: str = ""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one shape that ended alike. num_experts, topk: None where they are not known.

    reason: as it is counted. captured: how many of the calls were under graph capture. tokens: least and most of one
    call. why: a sentence about the first of them.
    """

    num_experts: Positive | None
    topk: Positive | None
    moe_buf: bool = True
    masked: bool = False
    reason: str
    calls: Number
    captured: Number = 0
    tokens: tuple[Number, Number] = (0, 0)
    why: str = ""

    def __post_init__(self) -> None:
        if self.captured > self.calls or self.tokens[0] > self.tokens[1]:
            raise ValueError("captured is at most calls, and tokens are the least and the most")

    @classmethod
    def of(cls, kind: Kind, count: Count) -> "Calls":
        """Create the record of a kind of calls."""
        experts, topk, condition = kind.asked or (None, None, Condition())
        return cls(
            num_experts=experts,
            topk=topk,
            moe_buf=condition.moe_buf,
            masked=condition.masked,
            reason=kind.reason,
            calls=count.calls,
            captured=count.captured,
            tokens=count.tokens,
            why=count.why,
        )


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one function in a process up to `written` (UTC, ISO 8601).

    function: AITER's, or the moe_align_block_size of a framework. state: whether its calls are steered here, in words.
    is_faulty: they should be and are not, or not all of them. table: as it was named. kernels: whose kernels sort.
    software: this package's version and AITER's.
    """

    schema: int = SCHEMA
    function: str = SORTING
    process: Process
    written: str
    state: str
    is_faulty: bool = False
    table: str | None
    kernels: str
    software: dict[str, str] = {}
    calls: list[Calls] = []


def escape(text: str) -> str:
    """Return a path or a command line as text that JSON takes: names may hold bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()


def now() -> str:
    """Return the time as it stands in records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def name_file(process: Process) -> str:
    """Return the name of a process's file: unlike that of any other process that writes to the same folder."""
    host = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in process.host)[:64]
    return f"{host}-{process.pid}-{process.token}{SUFFIX}"


def to_text(process: Process) -> str:
    """Return 'process 4711 on worker-3', without the host where it is not known."""
    return f"process {process.pid}" + (f" on {process.host}" if process.host else "")


def encode(record: Record) -> bytes:
    """Return the file's content."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def read(path: Path) -> Record:
    """Return the record in a file. Raise RecordError."""
    try:
        with open_regular(path) as file:
            record = msgspec.json.decode(file.read(MAX_BYTES), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"{format_path(path)} is no record of a process: {error}") from error
    if record.schema != SCHEMA:
        raise RecordError(f"{format_path(path)} has schema {record.schema}, and this version reads {SCHEMA}")
    return record
