"""From the name of an architecture to a worker that holds such a device."""

import os

from moesort_tune.device import libraries
from moesort_tune.device.architectures import Vendor, architecture
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.messages import WorkerSpec

AUTO = "auto"

_RUNTIMES: dict[Vendor, libraries.RuntimeName] = {"amd": "amd", "nvidia": "cuda", "host": "host"}


def open_worker(*, arch: str, ordinal: int, provider: str, limit_s: float) -> ProcessWorker:
    """A worker with the attached device, which must be `arch` unless that is 'auto'.

    limit_s: how long one point may take. Raises WorkerRefusedError saying what is attached instead, and
    UnknownArchitectureError.
    """
    if arch == AUTO:
        spec = WorkerSpec(None, None, ordinal, provider)
    else:
        spec = WorkerSpec(runtime_for(arch, libraries.attached_runtime()), arch, ordinal, provider)
    return ProcessWorker(spec, limit_s=limit_s)


def runtime_for(arch: str, attached: libraries.RuntimeName) -> libraries.RuntimeName | None:
    """The HIP runtime to open for `arch`, or None for the attached device's, which then says that it is another."""
    wanted = _RUNTIMES[architecture(arch).vendor]
    if os.environ.get("MOESORT_TUNE_RUNTIME"):
        return None
    order: tuple[libraries.RuntimeName, ...] = libraries.RUNTIMES
    # attached_runtime names the first of these that is there: what comes before it is not.
    return None if order.index(wanted) < order.index(attached) else wanted


def attached_arch() -> str | None:
    """The architecture that 'auto' means, where that can be told without opening the device."""
    forced = os.environ.get("MOESORT_TUNE_RUNTIME")
    return "host" if (forced or libraries.attached_runtime()) == "host" else None
