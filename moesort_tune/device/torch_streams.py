"""The stream that work on tensors of a device goes to: torch's current one, and for CPU tensors one of `host`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from moesort_tune.device import hip


class _Chosen(threading.local):
    """What `using` says in this thread. kept: see `using`."""

    host: int = 0
    kept: list[torch.Tensor] | None = None


_chosen = _Chosen()


_CPU: Final = torch.device("cpu")

_borrowed: dict[int, hip.BorrowedStream] = {}


def current(device: torch.device) -> hip.BorrowedStream:
    """The stream that work on tensors of `device` goes to in this thread."""
    # What torch.cuda.current_stream(device).cuda_stream is, without an object for it, which costs 2 us.
    # Devices are compared, since a device's `type` is a new string each time and costs 0.5 us.
    handle = _chosen.host if device == _CPU else torch._C._cuda_getCurrentRawStream(device.index)
    known = _borrowed.get(handle)
    if known is None:
        known = _borrowed[handle] = hip.BorrowedStream(handle)
    return known


@contextmanager
def using(stream: hip.Stream, device: torch.device) -> Iterator[list[torch.Tensor]]:
    """Makes `stream` the current one for tensors of `device` in this thread, for launches and for captures of our own.

    Yields a list of the tensors that launched work uses and nobody else holds (workspaces): whoever replays a graph
    captured inside holds on to it. torch.cuda.graph does that by itself.
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
    """Adds a tensor to the list that `using` yielded, if any."""
    if _chosen.kept is not None:
        _chosen.kept.append(tensor)
