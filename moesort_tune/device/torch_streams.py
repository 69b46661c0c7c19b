"""Stream for work on a device's tensors: torch's current stream, or for CPU tensors a stream of `host`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from moesort_tune.device import hip


class _Chosen(threading.local):
    """The effect of `use` in this thread. kept: see `use`."""

    host: int = 0
    kept: list[torch.Tensor] | None = None


_chosen = _Chosen()


_CPU: Final = torch.device("cpu")

_borrowed: dict[int, hip.BorrowedStream] = {}


def get_current(device: torch.device) -> hip.BorrowedStream:
    """Return this thread's stream for work on tensors of `device`."""
    # Same as torch.cuda.current_stream(device).cuda_stream without creating an object, which costs 2 us.
    # Compare devices: a device's `type` is a new string each time and costs 0.5 us.
    handle = _chosen.host if device == _CPU else torch._C._cuda_getCurrentRawStream(device.index)
    known = _borrowed.get(handle)
    if known is None:
        known = _borrowed[handle] = hip.BorrowedStream(handle)
    return known


@contextmanager
def use(stream: hip.Stream, device: torch.device) -> Iterator[list[torch.Tensor]]:
    """Make `stream` this thread's current one for tensors of `device`, for launches and for our own captures.

    Yield a list that collects the tensors used by enqueued work and owned by nobody else (workspaces): whoever replays
    a graph captured inside must hold this list. torch.cuda.graph does the same for its own captures.
    """
    before = _chosen.host, _chosen.kept
    handle = int(stream.handle)
    kept: list[torch.Tensor] = []
    _chosen.kept = kept
    try:
        if device.type == "cpu":
            _chosen.host = handle
            yield kept
        else:
            with torch.cuda.stream(torch.cuda.ExternalStream(handle, device=device)):
                yield kept
    finally:
        _chosen.host, _chosen.kept = before


def keep(tensor: torch.Tensor) -> None:
    """Add a tensor to the list that `use` yielded, if any."""
    if _chosen.kept is not None:
        _chosen.kept.append(tensor)
