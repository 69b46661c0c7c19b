"""The file of a process: what is written is read, and nothing else."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from moesort_tune.audit.record import SUFFIX, Calls, Process, Record, RecordError, encode, name_file, read
from moesort_tune.audit.tally import Asked, Count, Kind
from moesort_tune.domain.vocabulary import Condition

PROCESS = Process(
    pid=4711, host="worker-3", started="2026-11-26T10:00:00+00:00", token="00112233", command="python -m vllm"
)
CALLS = Calls.of(Kind(Asked(257, 9, Condition(masked=True)), "neighbours"), Count("between rows", (1, 64), 70, 68))


def make(**changes: Any) -> Record:
    """Return a record."""
    known: dict[str, Any] = {
        "process": PROCESS,
        "written": "later",
        "state": "steered",
        "table": "/t.yaml",
        "kernels": "aiter",
    }
    return Record(**(known | {"calls": [CALLS]} | changes))


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Protects the numbers between the server and the audit."""
    path = tmp_path / name_file(PROCESS)
    path.write_bytes(encode(make()))
    assert read(path) == make()


def test_record_of_an_earlier_version_is_of_aiters_function(tmp_path: Path) -> None:
    """Protects audits of servers that run another version: its records name no function."""
    path = tmp_path / name_file(PROCESS)
    named = b'"function": "moe_sorting",'
    assert named in encode(make())
    path.write_bytes(encode(make()).replace(named, b""))
    assert read(path) == make()


def test_processes_have_files_of_their_own() -> None:
    """Protects a shared folder: hosts, processes and restarts do not write over each other."""
    others = [
        msgspec.structs.replace(PROCESS, pid=4712),
        msgspec.structs.replace(PROCESS, host="worker/4"),
        msgspec.structs.replace(PROCESS, token="00112234"),
    ]
    names = {name_file(one) for one in (PROCESS, *others)}
    assert len(names) == 4
    assert all(name.endswith(SUFFIX) and "/" not in name for name in names)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no record of a process"),
        (b"{", "no record of a process"),
        (b"\xff\xfe", "no record of a process"),
        (b"[]", "no record of a process"),
        (encode(make())[:-40], "no record of a process"),
        (encode(make()).replace(b'"calls": 70', b'"calls": -1'), "no record of a process"),
        (encode(make()).replace(b'"calls": 70', b'"calls": 67'), "captured is at most calls"),
        (encode(make()).replace(b'"num_experts": 257', b'"num_experts": 0'), "no record of a process"),
        (encode(make(schema=99)), "has schema 99, and this version reads 1"),
    ],
)
def test_file_that_is_no_record_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """Protects the judgement from files that were cut, or are of another version."""
    path = tmp_path / f"x{SUFFIX}"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=words):
        read(path)


def test_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    """Protects against a name that is no file."""
    with pytest.raises(RecordError, match="no record of a process"):
        read(tmp_path)
