"""What sorting on one torch device needs: its kernels, its tables, its planned launches, what was learned on it."""

import functools
import threading
from pathlib import Path
from typing import Final

import torch

from moesort_tune import runtime
from moesort_tune.device import hip, libraries, torch_streams
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.operator.arguments import Request
from moesort_tune.operator.first_encounter import (
    Encounter,
    FirstEncounters,
    ReplayTimer,
    ShapeKey,
    Stopwatch,
    Work,
)
from moesort_tune.operator.planned_sort import PlannedSort, SortedTokens
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.problem import KERNELS, Problem

MAX_PLANS: Final = 4096
"""Problems whose launches a thread remembers; when there are more, all are forgotten."""

_NAMES: Final[dict[int, KernelName]] = {1: "oneshot", 2: "multiphase"}
"""Kernels by dispatch_policy."""


class NotReadyError(MoesortTuneError):
    """The kernels cannot be loaded now."""


class SortingDevice:
    """Sorts tensors of one torch device. Raises NotReadyError, HipError, CompileError, RuntimeLibraryError."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._several = device.type == "cuda" and torch.cuda.device_count() > 1
        self.kernels = _loaded(device)
        self.encounters = FirstEncounters(functools.partial(ReplayTimer, Stopwatch(self.kernels.device)))
        self._dispatchers: dict[str | None, runtime.Dispatcher] = {}
        self._plans = _Plans()
        self._of_dtypes: dict[torch.dtype, torch.Tensor] = {}

    def dispatcher(self, table: str | None = None) -> runtime.Dispatcher:
        """What decides on this device: by `table`, a file or folder, else as runtime.get says. Raises TableError."""
        known = self._dispatchers.get(table)
        if known is None:
            known = self._dispatchers[table] = self._new_dispatcher(table)
        return known

    def sort(self, request: Request) -> SortedTokens:
        """Gives one sort to the current stream. Its tensors are of this device and as Request says."""
        if self._several and torch.cuda.current_device() != self.device.index:
            with torch.cuda.device(self.device):
                return self._sort(request)
        return self._sort(request)

    def _sort(self, request: Request) -> SortedTokens:
        rows, topk = request.topk_ids.shape
        planned = self.planned(
            rows,
            topk,
            request.num_experts,
            unit_size=request.unit_size,
            moe_buf_row_bytes=(request.model_dim or 0) * request.moe_buf_dtype.itemsize,
        )
        stream = torch_streams.current(self.device)
        kernel = self._chosen(planned, request)
        if request.measure_misses and self._unknown(planned, request) and not stream.is_capturing():
            return self._first_sort(planned, kernel, stream, request=request)
        outputs = planned.allocate(request, self._one_of(request.moe_buf_dtype))
        workspace = self._workspace(planned) if kernel == "multiphase" else None
        planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)
        return outputs

    def _chosen(self, planned: PlannedSort, request: Request) -> KernelName:
        """The kernel that the caller, what was learned or the table names; of the last two, never an illegal one."""
        if request.dispatch_policy:
            return _NAMES[request.dispatch_policy]
        problem, dispatcher = planned.problem, self.dispatcher(request.table)
        if request.measure_misses and not dispatcher.has_row(problem.num_experts, problem.topk):
            learned = self.encounters.kernel(_key(problem))
            if learned is not None:
                return learned
        policy = dispatcher.policy(problem.rows, problem.num_experts, problem.topk)
        return "oneshot" if policy == 1 and problem.rows <= planned.oneshot_max_tokens else "multiphase"

    def _unknown(self, planned: PlannedSort, request: Request) -> bool:
        """Whether there are two kernels to choose from and neither table nor memory knows this shape."""
        problem = planned.problem
        two = request.dispatch_policy == 0 and 0 < problem.rows <= planned.oneshot_max_tokens
        return (
            two
            and self.encounters.kernel(_key(problem)) is None
            and not self.dispatcher(request.table).has_row(problem.num_experts, problem.topk)
        )

    def _first_sort(
        self,
        planned: PlannedSort,
        otherwise: KernelName,
        stream: hip.Stream,
        *,
        request: Request,
    ) -> SortedTokens:
        """Times both kernels on this call's own tensors; the winner runs last, so that the outputs are its."""
        outputs = planned.allocate(request, self._one_of(request.moe_buf_dtype))
        workspace = self._workspace(planned)

        def work(kernel: KernelName) -> Work:
            return lambda stream: planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)

        encounter = Encounter(
            key=_key(planned.problem),
            works={kernel: work(kernel) for kernel in KERNELS},
            otherwise=otherwise,
            unit_size=request.unit_size,
            model_dim=request.model_dim or 0,
            dtype=str(request.moe_buf_dtype).removeprefix("torch."),
        )
        work(self.encounters.meet(encounter, stream))(stream)
        return outputs

    def _workspace(self, planned: PlannedSort) -> torch.Tensor:
        """What multiphase hands on through, from torch's caching allocator."""
        workspace = torch.empty(planned.workspace_bytes, dtype=torch.uint8, device=self.device)
        torch_streams.keep(workspace)
        return workspace

    def _new_dispatcher(self, table: str | None) -> runtime.Dispatcher:
        limits, revision = self.kernels.limits, self.kernels.revision
        if table is None:
            return runtime.get(limits.arch, limits.compute_units, revision=revision)
        return runtime.Dispatcher.load(
            Path(table), arch=limits.arch, compute_units=limits.compute_units, revision=revision
        )

    def forget_tables(self) -> None:
        """Looks at environment and tables anew from the next call on."""
        self._dispatchers.clear()

    def _one_of(self, dtype: torch.dtype) -> torch.Tensor:
        """An empty tensor of this device."""
        known = self._of_dtypes.get(dtype)
        if known is None:
            known = self._of_dtypes[dtype] = torch.empty(0, dtype=dtype, device=self.device)
        return known

    def planned(
        self, rows: int, topk: int, num_experts: int, *, unit_size: int = 32, moe_buf_row_bytes: int = 0
    ) -> PlannedSort:
        """This thread's plan of a problem, made at the first call. Raises ProblemError."""
        key = (rows, topk, num_experts, unit_size, moe_buf_row_bytes)
        plans = self._plans.of_problems
        planned = plans.get(key)
        if planned is None:
            problem = Problem(rows, topk, num_experts, unit_size, moe_buf_bytes=rows * moe_buf_row_bytes)
            if len(plans) >= MAX_PLANS:
                plans.clear()
            planned = plans[key] = PlannedSort(self.kernels, problem)
        return planned


class _Plans(threading.local):
    """A thread's own plans: a plan holds the arguments of the call that is being made."""

    def __init__(self) -> None:
        self.of_problems: dict[tuple[int, ...], PlannedSort] = {}


_devices: dict[torch.device, SortingDevice] = {}
_opening = threading.Lock()


def sorting_device(device: torch.device) -> SortingDevice:
    """The one of a CPU's or GPU's `device`, opened at the first call. Raises as SortingDevice does."""
    known = _devices.get(device)
    if known is not None:
        return known
    if device.type == "cpu":
        device = torch.device("cpu")
    elif device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    with _opening:
        if device not in _devices:
            _devices[device] = _opened(device)
        return _devices[device]


def open_devices() -> list[SortingDevice]:
    """Those that this process has opened."""
    return list(_devices.values())


def reset() -> None:
    """Has every device look at the environment and at the tables anew, as runtime.reset does for the process."""
    runtime.reset()
    for device in open_devices():
        device.forget_tables()


def _opened(device: torch.device) -> SortingDevice:
    if device.type == "cpu":
        return SortingDevice(device)
    with torch.cuda.device(device):  # opening a HIP device makes it the current one
        refuse_under_capture(device)
        return SortingDevice(device)


def refuse_under_capture(device: torch.device) -> None:
    """Raises NotReadyError while the current stream of the current GPU, `device`, is capturing."""
    if torch.cuda.is_current_stream_capturing():
        raise NotReadyError(
            f"moe_sorting was called for the first time on {device} during graph capture, where its kernels "
            "cannot be loaded; call it once before capturing"
        )


def _loaded(device: torch.device) -> SortingKernels:
    return SortingKernels(hip.open_device(_runtime_of(device), device.index or 0))


def _runtime_of(device: torch.device) -> libraries.RuntimeName:
    if device.type == "cpu":
        return "host"
    return "amd" if torch.version.hip else "cuda"


def _key(problem: Problem) -> ShapeKey:
    return ShapeKey(problem.rows, problem.num_experts, problem.topk)
