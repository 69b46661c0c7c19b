"""Read and write traces: the experts of tokens that a serving process has routed, to time kernels as they are served.

A trace is a .npz file, as numpy.savez_compressed writes it, of one (num_experts, topk). Its three arrays are integers:

- `num_experts`: of no dimension;
- `tokens` [calls]: rows of each call of moe_sorting, each at least 1;
- `topk_ids` [sum of tokens, topk]: the experts of each row, the rows of one call after another.
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from moesort_tune.domain.shape import Shape, make_shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular

MAX_BYTES: Final = 256 << 20
"""Largest file, and largest array in it, that is read."""

DIGEST_DIGITS: Final = 12
"""Hexadecimal digits of the file's SHA-256 by which tables and samples name a trace."""

NAMES: Final = ("num_experts", "tokens", "topk_ids")

_STORED_TYPES: Final = (np.int8, np.int16, np.int32)


class TraceError(MoesortTuneError):
    """A file that is no trace."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Rows of topk_ids as they were routed. tokens: rows of each call; digest: names the file, '' before it is one."""

    shape: Shape
    topk_ids: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int64]
    digest: str = ""

    def draw(self, rows: int, random: np.random.Generator) -> npt.NDArray[np.int32]:
        """Return `rows` of its rows, each drawn from all of them."""
        drawn: npt.NDArray[np.int32] = self.topk_ids[random.integers(0, len(self.topk_ids), rows)]
        return drawn


def compose_trace(trace: Trace) -> bytes:
    """Return the file of a trace."""
    ids = trace.topk_ids
    stored = next(kind for kind in _STORED_TYPES if trace.shape.num_experts - 1 <= np.iinfo(kind).max)
    data = io.BytesIO()
    np.savez_compressed(
        data,
        num_experts=np.asarray(trace.shape.num_experts, np.int32),
        tokens=trace.tokens.astype(np.int32),
        topk_ids=ids.astype(stored),
    )
    return data.getvalue()


def read_trace(path: Path) -> Trace:
    """Return the trace in a file. Raise TraceError."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TraceError(f"cannot read the trace {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise TraceError(f"{path} is no trace: it has more than {MAX_BYTES >> 20} MiB")
    try:
        return _parse_trace(data)
    except ValueError as error:
        raise TraceError(
            f"{path} is no trace: {error!s:.200}; moesort_tune.record_routing writes one (docs/operator.md)"
        ) from error


def _parse_trace(data: bytes) -> Trace:
    arrays = _read_arrays(data)
    ids, tokens, experts = arrays["topk_ids"], arrays["tokens"], arrays["num_experts"]
    if ids.ndim != 2 or tokens.ndim != 1 or experts.ndim != 0:
        raise ValueError("topk_ids must have two dimensions, tokens one and num_experts none")
    shape = make_shape(int(experts), ids.shape[1])
    within = ((tokens >= 1) & (tokens <= len(ids))).all()  # so that no sum overflows
    if not len(ids) or not within or tokens.sum(dtype=np.int64) != len(ids):
        raise ValueError(f"topk_ids has {len(ids)} rows, of at least 1, and tokens must divide them into calls")
    if ids.min() < 0 or ids.max() >= shape.num_experts:
        raise ValueError(f"ids must be 0 to {shape.num_experts - 1}, got {ids.min()} to {ids.max()}")
    digest = hashlib.sha256(data).hexdigest()[:DIGEST_DIGITS]
    return Trace(shape, ids.astype(np.int32), tokens.astype(np.int64), digest)


def _read_arrays(data: bytes) -> Mapping[str, npt.NDArray[Any]]:
    """Return the arrays by name. Raise ValueError: nothing in a file is run, and no size in it is believed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(info.filename.removesuffix(".npy") for info in archive.infolist())
            if names != sorted(NAMES):
                raise ValueError(f"it holds {', '.join(names) or 'nothing'}, and not {', '.join(NAMES)}")
            return {name: _read_array(archive, name) for name in NAMES}
    except ValueError:
        raise
    except Exception as error:  # an archive can be damaged in as many ways as there are compressions
        raise ValueError(f"it cannot be read as an .npz ({type(error).__name__}: {error})") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} has version {version} of numpy's format, and not (1, 0)")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, got {dtype}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0:
            raise ValueError(f"{name} claims to be of shape {shape}")
        if size > MAX_BYTES:
            raise ValueError(f"{name} has more than {MAX_BYTES >> 20} MiB")
        content = file.read(size)
        if len(content) != size:
            raise ValueError(f"{name} ends after {len(content)} of {size} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
