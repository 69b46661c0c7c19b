"""Sort on one torch device: hold its kernels, its tables, its planned launches, and what was learned on it."""

import threading
from pathlib import Path
from typing import Final

import torch

from moesort_tune import runtime
from moesort_tune.device import hip, libraries, torch_streams
from moesort_tune.domain.candidates import choose_legal, list_legal_kernels
from moesort_tune.domain.vocabulary import AUTOMATIC, DEFAULT_UNIT_SIZE, KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.timers import Work
from moesort_tune.operator.arguments import Request, format_dtype
from moesort_tune.operator.first_encounter import Encounter, FirstEncounters, ShapeKey, make_replaying_timer
from moesort_tune.operator.planned_sort import PlannedSort, SortedTokens
from moesort_tune.operator.policies import KERNELS
from moesort_tune.operator.recording import active
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import NEED_WORKSPACE
from moesort_tune.sorting.problem import Problem

MAX_PLANS: Final = 4096
"""Problems whose launches a thread remembers; when there are more, all are forgotten."""


class NotReadyError(MoesortTuneError):
    """Kernels that cannot be loaded now."""


class SortingDevice:
    """Sort tensors of one torch device."""

    def __init__(self, device: torch.device) -> None:
        """Load the kernels. Raise NotReadyError, HipError, CompileError, RuntimeLibraryError."""
        self.device = device
        self._several = device.type == "cuda" and torch.cuda.device_count() > 1
        self.kernels = _load_kernels(device)
        self.encounters = FirstEncounters(make_replaying_timer(self.kernels.device))
        self._dispatchers: dict[str | None, runtime.Dispatcher] = {}
        self._plans = _Plans()
        self._of_dtypes: dict[torch.dtype, torch.Tensor] = {}

    @property
    def device_id(self) -> str:
        """Return the id that tells products of one architecture and size apart; '' where it is unknown."""
        return self.kernels.device.properties.device_id

    def get_dispatcher(self, table: str | None = None) -> runtime.Dispatcher:
        """Return what decides on this device: `table`, a file or folder, else as runtime.get says. Raise TableError."""
        known = self._dispatchers.get(table)
        if known is None:
            known = self._dispatchers[table] = self._load_dispatcher(table)
        return known

    def sort(self, request: Request) -> SortedTokens:
        """Enqueue one sort on the current stream. Its tensors are of this device and as Request says."""
        if self._several and torch.cuda.current_device() != self.device.index:
            with torch.cuda.device(self.device):
                return self._sort(request)
        return self._sort(request)

    def _sort(self, request: Request) -> SortedTokens:
        rows, topk = request.topk_ids.shape
        planned = self.get_plan(
            rows,
            topk,
            request.num_experts,
            unit_size=request.unit_size,
            moe_buf_row_bytes=(request.model_dim or 0) * request.moe_buf_dtype.itemsize,
        )
        stream = torch_streams.get_current(self.device)
        kernel = self._choose(planned, request)
        recorder = active.recorder
        if recorder is not None and not stream.is_capturing():
            recorder.note(request)
        if request.measure_misses and self._is_unknown(planned, request) and not stream.is_capturing():
            return self._sort_first_time(planned, kernel, stream, request=request)
        outputs = planned.allocate(request, self._get_empty(request.moe_buf_dtype))
        workspace = self._allocate_workspace(planned) if kernel in NEED_WORKSPACE else None
        planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)
        return outputs

    def _choose(self, planned: PlannedSort, request: Request) -> KernelName:
        """Return the kernel that the caller, what was learned or the table names; of the last two only a legal one."""
        if request.dispatch_policy:
            return KERNELS[request.dispatch_policy]
        problem, dispatcher = planned.problem, self.get_dispatcher(request.table)
        moe_buf, masked = request.condition
        if request.measure_misses:
            learned = self.encounters.get_kernel(_make_key(problem, request))
            if learned is not None and not dispatcher.has_row(problem.num_experts, problem.topk, masked):
                return learned
        kernel = KERNELS[dispatcher.policy(problem.rows, problem.num_experts, problem.topk, moe_buf, masked)]
        legal = problem.rows <= planned.limits[kernel]
        return kernel if legal else choose_legal(kernel, problem.rows, planned.limits)

    def _is_unknown(self, planned: PlannedSort, request: Request) -> bool:
        """Return whether there are kernels to choose from and neither table nor memory knows this shape."""
        problem, masked = planned.problem, request.condition.masked
        return (
            request.dispatch_policy == AUTOMATIC
            and problem.rows > 0
            and len(list_legal_kernels(problem.rows, planned.limits)) > 1
            and self.encounters.get_kernel(_make_key(problem, request)) is None
            and not self.get_dispatcher(request.table).has_row(problem.num_experts, problem.topk, masked)
        )

    def _sort_first_time(
        self,
        planned: PlannedSort,
        otherwise: KernelName,
        stream: hip.Stream,
        *,
        request: Request,
    ) -> SortedTokens:
        """Time all legal kernels on this call's own tensors; the winner runs last, so that the outputs are its."""
        outputs = planned.allocate(request, self._get_empty(request.moe_buf_dtype))
        workspace = self._allocate_workspace(planned)

        def work(kernel: KernelName) -> Work:
            return lambda stream: planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)

        encounter = Encounter(
            key=_make_key(planned.problem, request),
            works={kernel: work(kernel) for kernel in list_legal_kernels(planned.problem.rows, planned.limits)},
            otherwise=otherwise,
            unit_size=request.unit_size,
            model_dim=request.model_dim or 0,
            dtype=format_dtype(request.moe_buf_dtype),
        )
        work(self.encounters.meet(encounter, stream))(stream)
        return outputs

    def _allocate_workspace(self, planned: PlannedSort) -> torch.Tensor:
        """Allocate what the launches of one sort share, from torch's caching allocator."""
        workspace = torch.empty(planned.workspace_bytes, dtype=torch.uint8, device=self.device)
        torch_streams.keep(workspace)
        return workspace

    def _load_dispatcher(self, table: str | None) -> runtime.Dispatcher:
        limits, revision = self.kernels.limits, self.kernels.revision
        device_id = self.device_id or None
        if table is None:
            return runtime.get(limits.arch, limits.compute_units, revision=revision, device_id=device_id)
        return runtime.Dispatcher.load(
            Path(table),
            arch=limits.arch,
            compute_units=limits.compute_units,
            revision=revision,
            device_id=device_id,
        )

    def forget_tables(self) -> None:
        """Read environment and tables anew from the next call on."""
        self._dispatchers.clear()

    def _get_empty(self, dtype: torch.dtype) -> torch.Tensor:
        """Return an empty tensor of this device, made once."""
        known = self._of_dtypes.get(dtype)
        if known is None:
            known = self._of_dtypes[dtype] = torch.empty(0, dtype=dtype, device=self.device)
        return known

    def get_plan(
        self, rows: int, topk: int, num_experts: int, *, unit_size: int = DEFAULT_UNIT_SIZE, moe_buf_row_bytes: int = 0
    ) -> PlannedSort:
        """Return this thread's plan of a problem, made at the first call. Raise ProblemError."""
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
        """Start without plans."""
        self.of_problems: dict[tuple[int, ...], PlannedSort] = {}


_devices: dict[torch.device, SortingDevice] = {}
_opening = threading.Lock()


def get_sorting_device(device: torch.device) -> SortingDevice:
    """Return the cached SortingDevice for `device`, opening it on first use. Raise as SortingDevice does."""
    known = _devices.get(device)
    if known is not None:
        return known
    if device.type == "cpu":
        device = torch.device("cpu")
    elif device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    with _opening:
        if device not in _devices:
            _devices[device] = _open_device(device)
        return _devices[device]


def list_open_devices() -> list[SortingDevice]:
    """Return the devices that this process has opened."""
    return list(_devices.values())


def reset() -> None:
    """Read environment and tables anew on every device, as runtime.reset does for the process."""
    runtime.reset()
    for device in list_open_devices():
        device.forget_tables()


def _open_device(device: torch.device) -> SortingDevice:
    if device.type == "cpu":
        return SortingDevice(device)
    with torch.cuda.device(device):  # opening a HIP device makes it the current one
        refuse_under_capture(device)
        return SortingDevice(device)


def refuse_under_capture(device: torch.device) -> None:
    """Raise NotReadyError while the current stream of the current GPU, `device`, is capturing."""
    if torch.cuda.is_current_stream_capturing():
        raise NotReadyError(
            f"moe_sorting was called for the first time on {device} during graph capture, where its kernels "
            "cannot be loaded; call it once before capturing"
        )


def _load_kernels(device: torch.device) -> SortingKernels:
    return SortingKernels(hip.open_device(_choose_runtime(device), device.index or 0))


def _choose_runtime(device: torch.device) -> libraries.RuntimeName:
    if device.type == "cpu":
        return "host"
    return "amd" if torch.version.hip else "cuda"


def _make_key(problem: Problem, request: Request) -> ShapeKey:
    return ShapeKey(problem.rows, problem.num_experts, problem.topk, *request.condition)
