"""The actor that holds one GPU of a Ray cluster: the same worker process as on this machine, seen from Ray's.

It runs on the cluster's nodes. Errors are answers, so that none has to cross Ray as an exception.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from moesort_tune.device import kfd
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.fleet.visibility import find_assigned
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.devices import build_spec
from moesort_tune.sweep.worker.errors import WorkerLostError, WorkerStartError
from moesort_tune.sweep.worker.messages import Answer, DeviceFacts, Refusal, Request

Kind = TypeVar("Kind")

Gpu = tuple[str, str]
"""A node of the cluster and Ray's name of a GPU there: of a partition too, which shares its address with others."""


@dataclass(frozen=True)
class Loss:
    """The answer where the worker's process died or did not answer in time; another one follows at the next request."""

    sentence: str


@dataclass(frozen=True)
class Proof:
    """The card that an actor holds: what its device says, Ray's name of it and of its node.

    partitions: devices that the card is split into, which share its PCI address.
    """

    facts: DeviceFacts
    assigned: str
    node_id: str
    partitions: int

    @property
    def gpu(self) -> Gpu:
        """The GPU that Ray assigned."""
        return self.node_id, self.assigned


class CardActor:
    """Hold the GPU that Ray assigned to this process."""

    def __init__(self) -> None:
        self._workers: dict[str, ProcessWorker] = {}

    def open(self, arch: str, provider: str, limit_s: float) -> Proof | Refusal | Loss:
        """Open a worker with the provider's kernels unless there is one, and return the proof of the card."""
        import ray

        assigned = _list_assigned()
        opened = _convert_errors(lambda: self._open(arch, provider, limit_s, assigned))
        if isinstance(opened, Refusal | Loss):
            return replace(opened, sentence=f"GPU {','.join(assigned)} of {platform.node()}: {opened.sentence}")
        alike = [gpu for gpu in kfd.list_gpus() or () if opened.pci_address and gpu.pci_address == opened.pci_address]
        return Proof(opened, ",".join(assigned), ray.get_runtime_context().get_node_id(), max(1, len(alike)))

    def answer(self, provider: str, request: Request) -> Answer | DeviceFacts | Loss:
        """Answer a request with the provider's kernels."""
        return _convert_errors(lambda: self._workers[provider].request(request))

    def _open(self, arch: str, provider: str, limit_s: float, assigned: list[str]) -> DeviceFacts:
        if provider not in self._workers:
            found = find_assigned(assigned, os.environ)
            for name in found.misleading:
                del os.environ[name]
            spec = build_spec(arch=arch, ordinal=found.ordinal, provider=provider, must_be_idle=True)
            self._workers[provider] = ProcessWorker(spec, limit_s=limit_s)
        return self._workers[provider].facts


class CallingActor:
    """Hold the GPU that Ray assigned to this process, for one function."""

    def call(self, function: Callable[..., Kind], arguments: tuple[Any, ...]) -> Kind:
        """Return what the function returns; it gets Ray's name of the GPU as its last argument."""
        return function(*arguments, _list_assigned())


def _list_assigned() -> list[str]:
    """Return Ray's names of the GPUs that this process got."""
    import ray

    assigned: list[str] = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return assigned


def _convert_errors(ask: Callable[[], Kind]) -> Kind | Refusal | Loss:
    """Return the answer, or the error as one. A device that cannot be opened again is a loss: others go on."""
    try:
        return ask()
    except (WorkerLostError, WorkerStartError) as error:
        return Loss(str(error))
    except MoesortTuneError as error:
        return Refusal(str(error), "")
