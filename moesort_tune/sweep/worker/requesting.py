"""The calls of a worker as requests with an answer, wherever that comes from."""

from abc import ABC, abstractmethod
from typing import TypeVar

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.worker.errors import WorkerRefusedError
from moesort_tune.sweep.worker.messages import (
    Answer,
    CheckRequest,
    DeviceFacts,
    GapRequest,
    LimitRequest,
    Measured,
    MeasureRequest,
    NoLaunchGaps,
    Request,
)
from moesort_tune.tables.schema import LaunchGaps

Kind = TypeVar("Kind")


class RequestingWorker(ABC):
    """A worker that answers requests."""

    @abstractmethod
    def request(self, request: Request) -> Answer | DeviceFacts:
        """Return the answer. Raise WorkerRefusedError, WorkerLostError, WorkerStartError."""

    def limits(self, shape: Shape) -> Limits:
        """Return the largest token count of each kernel."""
        return require(dict, self.request(LimitRequest(shape)))

    def check(self, request: CheckRequest) -> None:
        """Raise WorkerRefusedError for a wrong kernel, WorkerLostError where a kernel crashes or never ends."""
        self.request(request)

    def measure(self, request: MeasureRequest) -> Measured:
        """Check and time kernels. Raise WorkerRefusedError, WorkerLostError."""
        return require(Measured, self.request(request))

    def measure_launch_gaps(self) -> LaunchGaps | NoLaunchGaps:
        """Return what each further launch costs, or why it is not known. Raise WorkerRefusedError, WorkerLostError."""
        answer = self.request(GapRequest())
        return answer if isinstance(answer, NoLaunchGaps) else require(LaunchGaps, answer)


def require(kind: type[Kind], answer: object) -> Kind:
    """Return the answer to a request that only `kind` answers. Raise WorkerRefusedError for another one."""
    if not isinstance(answer, kind):
        raise WorkerRefusedError(f"the process that runs the kernels answered {answer!r}, not {kind.__name__}")
    return answer
