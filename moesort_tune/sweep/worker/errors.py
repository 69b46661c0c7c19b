"""Errors of a worker, as the sweep sees them."""

from moesort_tune.errors import MoesortTuneError


class WorkerRefusedError(MoesortTuneError):
    """The worker reported an error: a failed HIP call, a wrong kernel, an impossible time."""


class WorkerLostError(MoesortTuneError):
    """The worker's process died or did not answer in time; it is gone, and another one is needed."""


class WorkerStartError(MoesortTuneError):
    """No process could be started that opens the device."""
