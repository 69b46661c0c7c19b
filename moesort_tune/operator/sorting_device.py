"""Sort on one torch device: hold its kernels, its planned launches, and what was learned on it."""

from typing import Final

import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.candidates import choose_legal, list_legal_kernels
from moesort_tune.domain.vocabulary import AUTOMATIC, DEFAULT_UNIT_SIZE, KernelName
from moesort_tune.measure.timers import Work
from moesort_tune.operator.arguments import Request, format_dtype
from moesort_tune.operator.first_encounter import Encounter, FirstEncounters, ShapeKey, make_replaying_timer
from moesort_tune.operator.planned_sort import PlannedSort, SortedTokens
from moesort_tune.operator.policies import FACTS, KERNELS
from moesort_tune.operator.recording import active
from moesort_tune.operator.torch_device import OpenDevices, Plans, TorchDevice, open_hip_device
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import NEED_WORKSPACE
from moesort_tune.sorting.problem import Problem


class SortingDevice(TorchDevice):
    """Sort tensors of one torch device."""

    def __init__(self, device: torch.device) -> None:
        """Load the kernels. Raise HipError, CompileError, RuntimeLibraryError."""
        self.kernels = SortingKernels(open_hip_device(device))
        super().__init__(device, self.kernels.device, FACTS, self.kernels.revision)
        self.encounters = FirstEncounters(make_replaying_timer(self.kernels.device))
        self._plans: Plans[PlannedSort] = Plans()
        self._of_dtypes: dict[torch.dtype, torch.Tensor] = {}

    def sort(self, request: Request) -> SortedTokens:
        """Enqueue one sort on the current stream. Its tensors are of this device and as Request says."""
        return self.run(self._sort, request)

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
        workspace = self.allocate_workspace(planned.workspace_bytes) if kernel in NEED_WORKSPACE else None
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
        workspace = self.allocate_workspace(planned.workspace_bytes)

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
        planned = self._plans.get(key)
        if planned is None:
            problem = Problem(rows, topk, num_experts, unit_size, moe_buf_bytes=rows * moe_buf_row_bytes)
            planned = self._plans.add(key, PlannedSort(self.kernels, problem))
        return planned


_devices: Final = OpenDevices(SortingDevice, "moe_sorting")

get_sorting_device: Final = _devices.get
"""Return the cached SortingDevice for a device, opening it on first use. Raise NotReadyError, as SortingDevice does."""

list_open_devices: Final = _devices.list
"""Return the devices that this process has opened."""


def _make_key(problem: Problem, request: Request) -> ShapeKey:
    return ShapeKey(problem.rows, problem.num_experts, problem.topk, *request.condition)
