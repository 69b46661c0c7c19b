"""A problem's launches, worked out once and given other pointers at each call: what makes a call cheap."""

from typing import NamedTuple

import torch

from moesort_tune.device import hip
from moesort_tune.sorting.arguments import SortingArguments
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import workspace_bytes
from moesort_tune.sorting.problem import KernelName, Problem
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.sorting.torch_arguments import Request


class SortedTokens(NamedTuple):
    """What `moe_sorting` returns: tensors on the device of topk_ids, the optional ones None where not asked for.

    sorted_token_ids int32 [max_padded]: `token | slot << 24`, by expert and token; padding is `rows | topk << 24`.
    sorted_weights float32 [max_padded]: their weights; 0.0 on padding.
    sorted_expert_ids int32 [ceil(max_padded / unit_size)]: expert of each tile of unit_size rows.
    num_valid_ids int32 [2]: rows used, padding included, and tokens read; nothing past them is defined.
    moe_buf [rows, model_dim]: zeros. local_topk_ids int32 [rows, topk]: local expert of each slot, or -1.
    m_indices int32 [max_padded]: token of each row. reverse_sorted int32 [rows * topk]: row of each slot, or -1.
    """

    sorted_token_ids: torch.Tensor
    sorted_weights: torch.Tensor
    sorted_expert_ids: torch.Tensor
    num_valid_ids: torch.Tensor
    moe_buf: torch.Tensor | None = None
    local_topk_ids: torch.Tensor | None = None
    m_indices: torch.Tensor | None = None
    reverse_sorted: torch.Tensor | None = None


class PlannedSort:
    """One problem's launches by either kernel. Not for two threads at once: it holds the arguments of the next call.

    oneshot_max_tokens: past it only multiphase is legal. workspace_bytes: what multiphase needs.
    """

    def __init__(self, kernels: SortingKernels, problem: Problem) -> None:
        self.problem = problem
        self.oneshot_max_tokens = oneshot_max_tokens(problem.num_experts, problem.topk, kernels.limits.lds_bytes)
        self.workspace_bytes = workspace_bytes(problem, kernels.limits)
        self._kernels = kernels
        self._launches: dict[KernelName, list[_Launch]] = {}

    def launch(
        self,
        kernel: KernelName,
        stream: hip.Stream,
        *,
        request: Request,
        outputs: SortedTokens,
        workspace: torch.Tensor | None,
    ) -> None:
        """Gives one sort of the request's tensors into `outputs` to `stream`. Raises OneshotTooLargeError, HipError."""
        launches = self._launches.get(kernel) or self._planned(kernel)
        for prepared in launches:
            _fill(prepared.arguments, request, outputs)
            prepared.arguments.moe_buf = _address(outputs.moe_buf) + prepared.zero_begin
            prepared.arguments.workspace = _address(workspace)
            prepared.launch.launch(stream)

    def _planned(self, kernel: KernelName) -> list["_Launch"]:
        launches = self._kernels.launches(kernel, self.problem, SortingArguments())
        self._launches[kernel] = [_Launch.of(launch) for launch in launches]
        return self._launches[kernel]


class _Launch(NamedTuple):
    """A launch, its arguments to be filled in, and from which byte on it zeroes moe_buf."""

    launch: hip.PreparedLaunch
    arguments: SortingArguments
    zero_begin: int

    @classmethod
    def of(cls, launch: hip.PreparedLaunch) -> "_Launch":
        """One that was prepared with null pointers."""
        assert isinstance(launch.arguments, SortingArguments)
        return cls(launch, launch.arguments, launch.arguments.moe_buf or 0)


def _fill(arguments: SortingArguments, request: Request, outputs: SortedTokens) -> None:
    # Written out: this is most of what a call costs beside its allocations.
    arguments.topk_ids = request.topk_ids.data_ptr()
    arguments.topk_weights = request.topk_weights.data_ptr()
    arguments.local_expert_mask = _address(request.local_expert_mask)
    arguments.num_local_tokens = _address(request.num_local_tokens)
    arguments.sorted_token_ids = outputs.sorted_token_ids.data_ptr()
    arguments.sorted_weights = outputs.sorted_weights.data_ptr()
    arguments.sorted_expert_ids = outputs.sorted_expert_ids.data_ptr()
    arguments.num_valid_ids = outputs.num_valid_ids.data_ptr()
    arguments.local_topk_ids = _address(outputs.local_topk_ids)
    arguments.m_indices = _address(outputs.m_indices)
    arguments.reverse_sorted = _address(outputs.reverse_sorted)


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else int(tensor.data_ptr())
