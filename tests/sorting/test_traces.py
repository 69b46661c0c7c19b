"""Traces: what is written can be read, and a file that is none is refused by a sentence, whatever is in it."""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.sorting import traces
from moesort_tune.sorting.traces import Trace, TraceError, compose_trace, read_trace

ARRAYS: dict[str, Any] = {"num_experts": 300, "tokens": [2, 1], "topk_ids": [[0, 299], [5, 6], [7, 8]]}


def write(folder: Path, **changes: Any) -> Path:
    """Return a file of ARRAYS with changes; None leaves an array out."""
    path = folder / "routing.npz"
    arrays = {name: value for name, value in (ARRAYS | changes).items() if value is not None}
    np.savez_compressed(path, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("num_experts", [128, 300, 1024])
def test_trace_reads_what_it_writes(tmp_path: Path, num_experts: int) -> None:
    """Protects the ids, which are stored in as few bytes as their largest needs."""
    ids = np.array([[0, num_experts - 1], [1, 2]], np.int32)
    path = tmp_path / "t.npz"
    path.write_bytes(compose_trace(Trace(Shape(num_experts, 2), ids, np.array([1, 1]))))
    read = read_trace(path)
    assert (read.shape, read.topk_ids.tolist(), read.tokens.tolist()) == (Shape(num_experts, 2), ids.tolist(), [1, 1])
    assert read.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_any_program_with_numpy_can_write_a_trace(tmp_path: Path) -> None:
    """Protects engines that do not use the operator: the format is three arrays of integers."""
    assert read_trace(write(tmp_path)).topk_ids.tolist() == ARRAYS["topk_ids"]
    assert (
        read_trace(write(tmp_path, topk_ids=np.asfortranarray(ARRAYS["topk_ids"]))).topk_ids.tolist()
        == (ARRAYS["topk_ids"])
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens": None}, "it holds num_experts, topk_ids, and not num_experts, tokens, topk_ids"),
        ({"more": 1}, "it holds more, num_experts"),
        ({"topk_ids": [[0, 300], [5, 6], [7, 8]]}, "ids must be 0 to 299, got 0 to 300"),
        ({"topk_ids": [[0, -1], [5, 6], [7, 8]]}, "ids must be 0 to 299, got -1 to 8"),
        ({"topk_ids": [[0.0, 1.0]] * 3}, "topk_ids must be integers, got float64"),
        ({"topk_ids": [1, 2, 3]}, "topk_ids must have two dimensions"),
        ({"tokens": [2, 2]}, "topk_ids has 3 rows"),
        ({"tokens": [3, 0]}, "topk_ids has 3 rows"),
        ({"tokens": [2**63 - 1, 2**63 - 1, 5]}, "topk_ids has 3 rows"),
        ({"topk_ids": np.zeros((0, 2), int), "tokens": np.zeros(0, int)}, "topk_ids has 0 rows"),
        ({"num_experts": 0}, "expected 1 to 1024 experts, got 0"),
        ({"num_experts": 1}, "topk must not exceed the number of experts"),
    ],
)
def test_arrays_that_are_no_trace_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """Protects kernels from ids that are no expert's, by which AITER's would index, and a person from a riddle."""
    with pytest.raises(TraceError) as refusal:
        read_trace(write(tmp_path, **changes))
    assert words in str(refusal.value)
    assert "routing.npz is no trace" in str(refusal.value)


class Bomb:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_trace_is_run(tmp_path: Path) -> None:
    """Protects whoever gets a trace from others: an array of objects is a program to numpy, and is not unpickled."""
    mark = tmp_path / "run"
    path = write(tmp_path, topk_ids=np.array([[Bomb(mark)]], dtype=object))
    with pytest.raises(TraceError, match="must be integers"):
        read_trace(path)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(TraceError, match=r"cannot be read as an \.npz"):
        read_trace(path)
    assert not mark.exists()


def build_npz(members: dict[str, bytes]) -> bytes:
    """Return an archive of these members."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def build_header(shape: str) -> bytes:
    """Return the header of an array of int64 that claims a shape."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(1099511627776, 2)", "has more than 256 MiB"),
        ("(3, 2)", "topk_ids ends after 0 of 48 bytes"),
        ("(-3, 2)", "topk_ids claims to be of shape (-3, 2)"),
    ],
)
def test_sizes_that_a_file_claims_are_not_believed(tmp_path: Path, shape: str, words: str) -> None:
    """Protects memory: a small file that claims a large array allocates nothing."""
    path = tmp_path / "t.npz"
    one = build_header("()") + (8).to_bytes(8, "little")
    members = {"num_experts.npy": one, "tokens.npy": one, "topk_ids.npy": build_header(shape)}
    path.write_bytes(build_npz(members))
    with pytest.raises(TraceError) as refusal:
        read_trace(path)
    assert words in str(refusal.value)


def test_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects memory from a file that is no trace at all."""
    path = write(tmp_path)
    monkeypatch.setattr(traces, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(TraceError, match="it has more than"):
        read_trace(path)


def test_every_damaged_file_is_refused_by_a_sentence(tmp_path: Path) -> None:
    """Protects the command line from a traceback, whichever byte of a trace is wrong; some bytes mean nothing."""
    path = write(tmp_path)
    good = path.read_bytes()
    refused = 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        try:
            read_trace(path)
        except TraceError:
            refused += 1
    assert refused > len(good) // 2


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A person sees which file was not there."""
    with pytest.raises(TraceError, match=r"cannot read the trace .*none\.npz: No such file"):
        read_trace(tmp_path / "none.npz")
    with pytest.raises(TraceError, match="cannot read the trace"):
        read_trace(tmp_path)
