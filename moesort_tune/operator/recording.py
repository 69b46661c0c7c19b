"""Record which experts the torch operator's calls name, as a trace to sweep and verify with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
import torch

from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.operator.arguments import Request
from moesort_tune.sorting.inputs import Int32Array
from moesort_tune.sorting.traces import Trace, compose_trace
from moesort_tune.whole_file import replace_file

MAX_ROWS: Final = 1 << 20
"""Rows that are recorded by default: 32 MiB for 8 experts per token."""


class Recorder:
    """Keep copies of the ids of calls, on their device, until there are `max_rows` of them.

    every: only each call of so many is recorded. Calls of another shape than the first one are not.
    """

    def __init__(self, max_rows: int, every: int) -> None:
        """Record nothing yet. Raise ValueError for numbers below 1."""
        if max_rows < 1 or every < 1:
            raise ValueError(f"max_rows and every must be at least 1, got {max_rows} and {every}")
        self._left = max_rows
        self._every = every
        self._seen = 0
        self._shape: Shape | None = None
        self._calls: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        self._lock = threading.Lock()

    def note(self, request: Request) -> None:
        """Enqueue a copy of a call's ids on its stream, without waiting for it."""
        ids = request.topk_ids
        rows, topk = ids.shape
        with self._lock:
            shape = Shape(request.num_experts, topk)
            if self._left == 0 or rows == 0 or self._shape not in (None, shape):
                return
            self._seen += 1
            if (self._seen - 1) % self._every:
                return
            self._shape = shape
            rows = min(rows, self._left)
            self._left -= rows
            tokens = request.num_local_tokens
            self._calls.append((ids[:rows].clone(), None if tokens is None else tokens.clone()))

    def build_trace(self) -> Trace | None:
        """Return what was recorded, having waited for it; None where nothing was.

        Rows behind num_local_tokens and rows with an id that is no expert's are left out, since nobody routed them.
        """
        for device in {ids.device for ids, _ in self._calls if ids.is_cuda}:
            torch.cuda.synchronize(device)
        kept = [rows for ids, tokens in self._calls if len(rows := self._select_routed(ids, tokens))]
        if not kept or self._shape is None:
            return None
        return Trace(self._shape, np.concatenate(kept), np.array([len(rows) for rows in kept], np.int64))

    def _select_routed(self, ids: torch.Tensor, tokens: torch.Tensor | None) -> Int32Array:
        rows = ids.cpu().numpy()[: None if tokens is None else max(0, int(tokens))]
        experts = self._shape.num_experts if self._shape else 0
        return rows[((rows >= 0) & (rows < experts)).all(axis=1)]  # type: ignore[no-any-return]


class _Active:
    """The recorder of this process, None while nothing is recorded."""

    recorder: Recorder | None = None


active: Final = _Active()


@contextmanager
def record_routing(path: str | PathLike[str], *, max_rows: int = MAX_ROWS, every: int = 1) -> Iterator[None]:
    """Record the topk_ids of moe_sorting's calls inside of `with`, and write them as a trace to `path` at its end.

    A call costs one more copy of its ids on the device. Calls under graph capture, which sort nothing, and replays are
    not recorded: let the model run without graphs meanwhile. The first call's (num_experts, topk) is recorded.
    max_rows: most rows in all; every: only one call of so many, so that more of a large model's steps are among them
    (choose a number that does not divide its layers). docs/operator.md describes the file.
    Raise MoesortTuneError where another recording is under way, where no call was recorded, and, before anything is,
    where `path` is in no folder; OSError where the file cannot be written.
    """
    if not Path(path).parent.is_dir():
        raise MoesortTuneError(f"{path} cannot be written: {Path(path).parent} is no folder")
    if active.recorder is not None:
        raise MoesortTuneError("routing is already being recorded; end that recording first")
    recorder = active.recorder = Recorder(max_rows, every)
    try:
        yield
    finally:
        active.recorder = None
        trace = recorder.build_trace()
        if trace is not None:
            replace_file(Path(path), compose_trace(trace))
    if trace is None:
        raise MoesortTuneError(
            f"no call of moe_sorting was recorded, so {path} was not written: calls under graph capture and replays "
            "do not count"
        )
