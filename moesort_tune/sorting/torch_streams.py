"""The stream that work on tensors of a device goes to: torch's current one, and for CPU tensors one of `host`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moesort_tune.device import hip

_CAPTURING = 1
"""hipStreamCaptureStatusActive."""


class BorrowedStream(hip.Stream):
    """A stream that someone else made and keeps, known by its handle; 0 is the default stream."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def is_capturing(self) -> bool:
        """Whether what is given to the stream is recorded into a graph instead of being run."""
        return int(hip.checked("hipStreamIsCapturing", self.handle)) == _CAPTURING


class _Chosen(threading.local):
    """What `using` says in this thread. kept: see `using`."""

    host: BorrowedStream = BorrowedStream(0)
    kept: list[torch.Tensor] | None = None


_chosen = _Chosen()


def current(device: torch.device) -> BorrowedStream:
    """The stream that work on tensors of `device` goes to in this thread."""
    if device.type == "cpu":
        return _chosen.host
    # What torch.cuda.current_stream(device).cuda_stream is, without an object for it, which costs 2 us.
    return BorrowedStream(torch._C._cuda_getCurrentRawStream(device.index))


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
            _chosen.host = BorrowedStream(handle)
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
