"""The child process that holds the device: answers one request after another until its parent is gone."""

import contextlib
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from moesort_tune.device import child
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.worker.messages import Answer, DeviceFacts, Refusal, Request, WorkerSpec

if TYPE_CHECKING:
    from moesort_tune.sweep.worker.bench import Bench


def serve(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> None:
    """Open the device, send its facts, then answer requests. An error is answered by a Refusal."""
    _tie_to_parent()
    bench = _open_bench(connection, spec)
    if bench is None:
        return
    with contextlib.closing(bench):
        while (request := _receive(connection)) is not None:
            connection.send(_answer(bench, request))


def _tie_to_parent() -> None:
    """Start a process group, to be killed with all it starts, and die with the parent, even in a kernel."""
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    child.tie_to(parent.pid if parent and parent.pid else os.getppid())


def _open_bench(connection: "Connection[Answer | DeviceFacts, Request]", spec: WorkerSpec) -> "Bench | None":
    from moesort_tune.sweep.worker.bench import Bench

    try:
        bench = Bench(spec)
        bench.warm_up(time.monotonic)
        connection.send(bench.facts)
    except Exception as error:
        connection.send(_refuse(error))
        return None
    return bench


def _receive(connection: "Connection[Answer | DeviceFacts, Request]") -> Request | None:
    try:
        return connection.recv()
    except EOFError:
        return None


def _answer(bench: "Bench", request: Request) -> Answer:
    from moesort_tune.device.hip import HipError

    try:
        return bench.answer(request)
    except Exception as error:
        return _refuse(error, device_failed=isinstance(error, HipError))


def _refuse(error: Exception, *, device_failed: bool = False) -> Refusal:
    sentence = str(error) if isinstance(error, MoesortTuneError) else f"{type(error).__name__}: {error}"
    return Refusal(sentence, "".join(traceback.format_exception(error)), device_failed)
