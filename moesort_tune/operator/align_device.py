"""Align on one torch device: hold the kernels of the align form, and its planned launches."""

import ctypes
from typing import Final, NamedTuple

import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.domain.candidates import choose_legal
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.operator.align_request import AlignRequest, check_memory
from moesort_tune.operator.policies import KERNELS
from moesort_tune.operator.torch_device import NotReadyError, OpenDevices, Plans, TorchDevice, open_hip_device
from moesort_tune.providers.facts.align import PROVIDER
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.arguments import AlignArguments
from moesort_tune.sorting.launches import NEED_WORKSPACE, compute_workspace_bytes
from moesort_tune.sorting.problem import Problem


class AlignDevice(TorchDevice):
    """Align on one torch device."""

    def __init__(self, device: torch.device) -> None:
        """Open the kernels; each width of ids is compiled at its first call. Raise HipError, RuntimeLibraryError."""
        self.kernels = AlignKernels(open_hip_device(device))
        super().__init__(device, self.kernels.device, PROVIDER.facts, self.kernels.revision)
        self._plans: Plans[PlannedAlign] = Plans()

    def align(self, request: AlignRequest) -> None:
        """Enqueue one alignment on the current stream. Its tensors are of this device and as AlignRequest says."""
        self.run(self._align, request)

    def _align(self, request: AlignRequest) -> None:
        planned = self._get_plan(request)
        kernel = self._choose(planned, request)
        stream = torch_streams.get_current(self.device)
        if not self.kernels.is_loaded(planned.id_bits) and stream.is_capturing():
            raise NotReadyError(
                f"moe_align_block_size was called for the first time with int{planned.id_bits} ids on {self.device} "
                "during graph capture, where their kernels cannot be loaded; call it once before capturing"
            )
        launches = planned.get_launches(kernel)
        workspace = self.allocate_workspace(planned.workspace_bytes) if kernel in NEED_WORKSPACE else None
        planned.launch(launches, stream, request, workspace)

    def _choose(self, planned: "PlannedAlign", request: AlignRequest) -> KernelName:
        """Return the kernel that the caller or the table names; of the latter only a legal one."""
        if request.dispatch_policy:
            return KERNELS[request.dispatch_policy]
        sort, dispatcher = planned.sort, self.get_dispatcher(request.table)
        kernel = KERNELS[dispatcher.policy(sort.rows, planned.experts, sort.topk)]
        return kernel if sort.rows <= planned.limits[kernel] else choose_legal(kernel, sort.rows, planned.limits)

    def _get_plan(self, request: AlignRequest) -> "PlannedAlign":
        """Return this thread's plan of a request's sizes, made at the first call. Raise ProblemError."""
        rows, topk = request.topk_ids.shape
        key = (
            rows,
            topk,
            request.num_experts,
            request.block_size,
            request.sorted_token_ids.numel(),
            request.expert_ids.numel(),
            request.topk_ids.itemsize,
            request.first_id,
            request.ignore_invalid_experts,
        )
        return self._plans.get(key) or self._plans.add(key, PlannedAlign(self.kernels, request))


def count_experts(num_experts: int, first_id: int) -> int:
    """Return the model's experts, by which tables have their rows: SGLang counts the id -1 too."""
    return max(num_experts + first_id, 1)


class PlannedAlign:
    """The launches of one request's sizes by each kernel. Not for two threads at once: it holds a call's arguments.

    experts: those by which tables have their rows. limits: the largest token count of each kernel. workspace_bytes: for
    a kernel that needs a workspace. id_bits: of an id in topk_ids.
    """

    def __init__(self, kernels: AlignKernels, request: AlignRequest) -> None:
        """Prepare nothing yet: a kernel's launches are prepared when it is first launched. Raise ProblemError."""
        rows, topk = request.topk_ids.shape
        self.sort = Problem(rows, topk, request.num_experts, request.block_size)
        self.experts = count_experts(request.num_experts, request.first_id)
        self.limits = PROVIDER.facts.limits(request.num_experts, topk, kernels.limits)
        self.workspace_bytes = compute_workspace_bytes(self.sort, kernels.limits)
        self._kernels = kernels
        self.id_bits = 8 * request.topk_ids.itemsize
        self._arguments = AlignArguments(
            first_id=request.first_id,
            capacity_rows=request.sorted_token_ids.numel(),
            capacity_tiles=request.expert_ids.numel(),
            tail_expert=-1,
            drops_other_ranks=request.ignore_invalid_experts,
        )
        self._launches: dict[KernelName, list[_Launch]] = {}

    def get_launches(self, kernel: KernelName) -> "list[_Launch]":
        """Return the launches by `kernel`, prepared at the first call. Raise KernelTooLargeError."""
        known = self._launches.get(kernel)
        if known is None:
            prepared = self._kernels.prepare_launches(kernel, self.sort, self._arguments, self.id_bits)
            known = self._launches[kernel] = [_Launch.of(launch) for launch in prepared]
        return known

    def launch(
        self,
        launches: "list[_Launch]",
        stream: hip.Stream,
        request: AlignRequest,
        workspace: torch.Tensor | None,
    ) -> None:
        """Enqueue one alignment of the request's tensors. Raise ArgumentError where one has no memory, HipError."""
        expert_map, scatter_idx = request.expert_map, request.scatter_idx
        ids = request.topk_ids.data_ptr()
        addresses = [
            0 if expert_map is None else expert_map.data_ptr(),
            request.sorted_token_ids.data_ptr(),
            request.expert_ids.data_ptr(),
            request.num_tokens_post_pad.data_ptr(),
            0 if scatter_idx is None else scatter_idx.data_ptr(),
            0 if workspace is None else workspace.data_ptr(),
        ]
        if not ids or addresses.count(0) != (expert_map is None) + (scatter_idx is None) + (workspace is None):
            check_memory(request)  # what has no elements may have no address
        for launch in launches:
            launch.ids.value = ids
            launch.others[:] = addresses
            launch.prepared.launch(stream)


_OTHERS: Final = ("expert_map", "sorted_token_ids", "expert_ids", "num_tokens_post_pad", "scatter_idx", "workspace")
"""Pointers that follow one another in AlignArguments, so that one assignment writes them all."""


def check_pointers(block: type[ctypes.Structure]) -> None:
    """Raise TypeError unless `block` has the pointers of _OTHERS one after another."""
    places = [getattr(block, name).offset - getattr(block, _OTHERS[0]).offset for name in _OTHERS]
    if places != [ctypes.sizeof(ctypes.c_void_p) * index for index in range(len(_OTHERS))]:
        raise TypeError(f"{block.__name__} must have the pointers {', '.join(_OTHERS)} one after another")


check_pointers(AlignArguments)


class _Launch(NamedTuple):
    """A launch, and the pointers among its arguments: to topk_ids, and those of _OTHERS."""

    prepared: hip.PreparedLaunch
    ids: ctypes.c_uint64
    others: "ctypes.Array[ctypes.c_uint64]"

    @classmethod
    def of(cls, prepared: hip.PreparedLaunch) -> "_Launch":
        """Wrap a launch prepared with null pointers."""
        arguments = prepared.arguments
        if not isinstance(arguments, AlignArguments):
            raise TypeError(f"an alignment is launched with AlignArguments, not with {type(arguments).__name__}")
        others = (ctypes.c_uint64 * len(_OTHERS)).from_buffer(arguments, AlignArguments.expert_map.offset)
        return cls(prepared, ctypes.c_uint64.from_buffer(arguments, AlignArguments.topk_ids.offset), others)


get_align_device: Final = OpenDevices(AlignDevice, "moe_align_block_size").get
"""Return the cached AlignDevice for a device, opening it on first use. Raise NotReadyError, as AlignDevice does."""
