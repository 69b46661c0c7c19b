"""From the name of an architecture to a worker that holds such a device."""

import os

from moesort_tune.device import libraries
from moesort_tune.device.architectures import Vendor, get_architecture
from moesort_tune.sweep.worker.client import ProcessWorker
from moesort_tune.sweep.worker.messages import WorkerSpec

AUTO = "auto"

_RUNTIMES: dict[Vendor, libraries.RuntimeName] = {"amd": "amd", "nvidia": "cuda", "host": "host"}


def open_worker(*, arch: str, ordinal: int, provider: str, limit_s: float) -> ProcessWorker:
    """Open a worker with the attached device, which must be `arch` unless that is 'auto'.

    limit_s: how long one point may take. Raise WorkerRefusedError, which names what is attached instead, and
    UnknownArchitectureError.
    """
    return ProcessWorker(build_spec(arch=arch, ordinal=ordinal, provider=provider), limit_s=limit_s)


def build_spec(*, arch: str, ordinal: int, provider: str, must_be_idle: bool = False) -> WorkerSpec:
    """Return what a worker with such a device opens. Raise UnknownArchitectureError."""
    if arch == AUTO:
        return WorkerSpec(None, None, ordinal, provider, must_be_idle)
    runtime = choose_runtime(arch, libraries.detect_runtime())
    return WorkerSpec(runtime, arch, ordinal, provider, must_be_idle)


def choose_runtime(arch: str, attached: libraries.RuntimeName) -> libraries.RuntimeName | None:
    """Return the HIP runtime to open for `arch`, or None for that of the attached device, which then proves another."""
    wanted = _RUNTIMES[get_architecture(arch).vendor]
    if os.environ.get("MOESORT_TUNE_RUNTIME"):
        return None
    order: tuple[libraries.RuntimeName, ...] = libraries.RUNTIMES
    # detect_runtime names the first of these that is there: what comes before it is not.
    return None if order.index(wanted) < order.index(attached) else wanted


def detect_arch() -> str | None:
    """Return the architecture that 'auto' means, or None where only opening the device would answer that."""
    forced = os.environ.get("MOESORT_TUNE_RUNTIME")
    return "host" if (forced or libraries.detect_runtime()) == "host" else None
