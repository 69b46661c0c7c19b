"""The cards of this machine: one worker process a GPU."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field

from moesort_tune.device import child
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.fleet.opening import Opened, await_workers
from moesort_tune.sweep.fleet.options import Devices
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.devices import build_spec
from moesort_tune.sweep.worker.pinned import PinnedWorker

COUNT_SECONDS = 120.0
"""Counting devices loads a driver, and may build a runtime first."""


@dataclass
class LocalEngine:
    """Open devices by number, None for all; cards in use by others are left out. limit_s: of one point."""

    arch: str
    devices: Devices
    limit_s: float
    _resources: ExitStack = field(default_factory=ExitStack)

    def open_workers(self, provider: str) -> Opened:
        """Return a worker on each device that can be used. Raise NoCardsError where there is none."""
        ordinals = range(count_devices(self.arch)) if self.devices is None else self.devices
        specs = {
            f"device {ordinal}": build_spec(arch=self.arch, ordinal=ordinal, provider=provider, must_be_idle=True)
            for ordinal in ordinals
        }
        opening = {
            name: self._resources.enter_context(PinnedWorker(ProcessWorker(spec, limit_s=self.limit_s, opened=False)))
            for name, spec in specs.items()
        }
        return await_workers(opening)

    def close(self) -> None:
        """Kill the worker processes."""
        self._resources.close()


def count_devices(arch: str) -> int:
    """Return how many devices the runtime for `arch` has, from a process of its own. Raise MoesortTuneError."""
    spec = build_spec(arch=arch, ordinal=0, provider="")
    command = child.build_python_command("moesort_tune.device.count_worker", spec.runtime or "")
    try:
        ended = child.run(command, seconds=COUNT_SECONDS)
    except child.ChildError as error:
        raise MoesortTuneError(f"the devices could not be counted: the process for it {error}") from error
    if ended.status:
        raise MoesortTuneError(f"the devices could not be counted: the process for it {ended.ending}")
    return int(json.loads(ended.stdout))
