"""Hold what every operator of this package needs of a torch device: its HIP device, the tables that decide, memory."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import torch

from moesort_tune import runtime
from moesort_tune.device import hip, libraries, torch_streams
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.base import Facts

MAX_PLANS: Final = 4096
"""Problems whose launches a thread remembers; when there are more, all are forgotten."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Plan = TypeVar("Plan")


class NotReadyError(MoesortTuneError):
    """Kernels that cannot be loaded now."""


class TorchDevice:
    """One torch device. facts, revision: of the kernels whose tables decide."""

    def __init__(self, device: torch.device, hip_device: hip.Device, facts: Facts, revision: str) -> None:
        self.device = device
        self._hip_device = hip_device
        self._facts = facts
        self._revision = revision
        self._several = device.type == "cuda" and torch.cuda.device_count() > 1
        self._dispatchers: dict[str | None, runtime.Dispatcher] = {}

    @property
    def device_id(self) -> str:
        """Return the id that tells products of one architecture and size apart; '' where it is unknown."""
        return self._hip_device.properties.device_id

    def run(self, work: Callable[[Argument], Result], argument: Argument) -> Result:
        """Return `work` of `argument` with this device as torch's current one."""
        if self._several and torch.cuda.current_device() != self.device.index:
            with torch.cuda.device(self.device):
                return work(argument)
        return work(argument)

    def get_dispatcher(self, table: str | None = None) -> runtime.Dispatcher:
        """Return what decides on this device: `table`, a file or folder, else as runtime.get says. Raise TableError."""
        known = self._dispatchers.get(table)
        if known is None:
            known = self._dispatchers[table] = self._load_dispatcher(table)
        return known

    def _load_dispatcher(self, table: str | None) -> runtime.Dispatcher:
        limits, device_id = self._hip_device.properties.limits, self.device_id or None
        asked = {"kernels": self._facts.name, "revision": self._revision, "device_id": device_id}
        if table is None:
            return runtime.get(limits.arch, limits.compute_units, **asked)  # type: ignore[arg-type]
        return runtime.Dispatcher.load(
            Path(table),
            arch=limits.arch,
            compute_units=limits.compute_units,
            **asked,  # type: ignore[arg-type]
        )

    def forget_tables(self) -> None:
        """Read environment and tables anew from the next call on."""
        self._dispatchers.clear()

    def allocate_workspace(self, nbytes: int) -> torch.Tensor:
        """Allocate what the launches of one sort share, from torch's caching allocator."""
        workspace = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        torch_streams.keep(workspace)
        return workspace


class Plans(threading.local, Generic[Plan]):
    """A thread's own plans of problems: a plan holds the arguments of the call that is being made."""

    def __init__(self) -> None:
        """Start without plans."""
        self._of_problems: dict[tuple[int, ...], Plan] = {}

    def get(self, key: tuple[int, ...]) -> Plan | None:
        """Return the plan of a problem, None where there is none yet."""
        return self._of_problems.get(key)

    def add(self, key: tuple[int, ...], plan: Plan) -> Plan:
        """Remember and return a plan."""
        if len(self._of_problems) >= MAX_PLANS:
            self._of_problems.clear()
        self._of_problems[key] = plan
        return plan


Opened = TypeVar("Opened", bound=TorchDevice)

_registries: "list[OpenDevices[Any]]" = []
"""Those of all operators."""


class OpenDevices(Generic[Opened]):
    """The devices of one operator that this process has opened. name: the operator's, for messages."""

    def __init__(self, open_device: Callable[[torch.device], Opened], name: str) -> None:
        self._open_device = open_device
        self._name = name
        self._devices: dict[torch.device, Opened] = {}
        self._opening = threading.Lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        _registries.append(self)

    def get(self, device: torch.device) -> Opened:
        """Return the opened `device`, opening it on first use. Raise NotReadyError, and as opening does."""
        known = self._devices.get(device)
        if known is not None:
            return known
        if device.type == "cpu":
            device = torch.device("cpu")
        elif device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        with self._opening:
            if device not in self._devices:
                self._devices[device] = self._open(device)
            return self._devices[device]

    def list(self) -> list[Opened]:
        """Return the devices that are open."""
        return [*self._devices.values()]

    def _open(self, device: torch.device) -> Opened:
        if device.type == "cpu":
            return self._open_device(device)
        with torch.cuda.device(device):  # opening a HIP device makes it the current one
            refuse_under_capture(device, self._name)
            return self._open_device(device)

    def _renew_lock(self) -> None:
        """Replace the lock in a forked child, where the thread that held it is gone."""
        self._opening = threading.Lock()


def reset() -> None:
    """Read environment and tables anew on every device, as runtime.reset does for the process."""
    runtime.reset()
    for registry in _registries:
        for opened in registry.list():
            opened.forget_tables()


def refuse_under_capture(device: torch.device, name: str) -> None:
    """Raise NotReadyError while the current stream of the current GPU, `device`, is capturing."""
    if torch.cuda.is_current_stream_capturing():
        raise NotReadyError(
            f"{name} was called for the first time on {device} during graph capture, where its kernels "
            "cannot be loaded; call it once before capturing"
        )


def open_hip_device(device: torch.device) -> hip.Device:
    """Return the HIP device of a torch device; tensors on a CPU are the `host` runtime's. Raise as opening does."""
    return hip.open_device(_choose_runtime(device), device.index or 0)


def _choose_runtime(device: torch.device) -> libraries.RuntimeName:
    if device.type == "cpu":
        return "host"
    return "amd" if torch.version.hip else "cuda"
