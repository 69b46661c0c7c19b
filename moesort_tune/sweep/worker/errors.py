"""Errors of a worker, as the sweep sees them."""

from moesort_tune.errors import MoesortTuneError


class WorkerRefusedError(MoesortTuneError):
    """The worker reported an error: a wrong kernel, an impossible time, a device that is not the one to open."""


class WorkerLostError(MoesortTuneError):
    """The worker's process died or did not answer in time; it is gone, and another one is needed."""


class DeviceFailedError(WorkerLostError):
    """A HIP call failed while the worker answered; its process is gone, since such a failure may stick to it."""


class WorkerStartError(MoesortTuneError):
    """No process could be started that opens the device."""
