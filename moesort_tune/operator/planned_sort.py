"""Plan a problem's launches once and give them other pointers at each call, which makes a call cheap."""

import ctypes
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.operator.arguments import Request
from moesort_tune.operator.policies import FACTS
from moesort_tune.sorting.arguments import SortingArguments
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import compute_workspace_bytes
from moesort_tune.sorting.problem import Problem


class SortedTokens(NamedTuple):
    """The result of `moe_sorting`: tensors on the device of topk_ids, the optional ones None unless requested.

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
    """One problem's launches by each kernel. Not for two threads at once: it holds the arguments of the next call.

    limits: the largest token count of each kernel. workspace_bytes: for a kernel that needs a workspace.
    """

    def __init__(self, kernels: SortingKernels, problem: Problem) -> None:
        """Prepare nothing yet: a kernel's launches are prepared when it is first launched."""
        self.problem = problem
        self.limits = FACTS.limits(problem.num_experts, problem.topk, kernels.limits)
        self.workspace_bytes = compute_workspace_bytes(problem, kernels.limits)
        self._max_padded, self._max_tiles = problem.max_padded, problem.max_tiles
        self._kernels = kernels
        self._launches: dict[KernelName, list[_Launch]] = {}

    def allocate(self, request: Request, of_moe_buf: torch.Tensor) -> SortedTokens:
        """Allocate tensors for what the request asks for, from torch's caching allocator; nothing is written to them.

        of_moe_buf: any tensor of moe_buf's dtype and device, since making one like another costs the least.
        """
        new = request.topk_ids.new_empty
        rows, topk, padded = self.problem.rows, self.problem.topk, self._max_padded
        return SortedTokens(
            new(padded),
            request.topk_weights.new_empty(padded),
            new(self._max_tiles),
            new(2),
            None if request.model_dim is None else of_moe_buf.new_empty((rows, request.model_dim)),
            new((rows, topk)) if request.return_local_topk_ids else None,
            new(padded) if request.output_aux else None,
            new(rows * topk) if request.output_aux else None,
        )

    def launch(
        self,
        kernel: KernelName,
        stream: hip.Stream,
        *,
        request: Request,
        outputs: SortedTokens,
        workspace: torch.Tensor | None,
    ) -> None:
        """Enqueue one sort of the request's tensors into `outputs`. Raise KernelTooLargeError, HipError."""
        launches = self._launches.get(kernel) or self.prepare(kernel)
        inputs = (request.topk_ids, request.topk_weights, request.local_expert_mask, request.num_local_tokens)
        tensors = (*inputs, *outputs, workspace)
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        moe_buf = addresses[_MOE_BUF]
        for prepared, pointers, zero_begin in launches:
            addresses[_MOE_BUF] = moe_buf + zero_begin
            pointers[:] = addresses
            prepared.launch(stream)

    def prepare(self, kernel: KernelName) -> list["_Launch"]:
        """Prepare the launches, which the first `launch` does otherwise. Raise KernelTooLargeError."""
        launches = self._kernels.prepare_launches(kernel, self.problem, SortingArguments())
        self._launches[kernel] = [_Launch.of(launch) for launch in launches]
        return self._launches[kernel]


_INPUTS: Final = ("topk_ids", "topk_weights", "local_expert_mask", "num_local_tokens")
_POINTERS: Final = [name for name, kind in SortingArguments._fields_ if kind is ctypes.c_void_p]
_MOE_BUF: Final = _POINTERS.index("moe_buf")


def check_pointers(tensors: Sequence[str], block: type[ctypes.Structure]) -> None:
    """Raise TypeError unless `block` begins with a pointer to each of `tensors`, in their order.

    `PlannedSort.launch` writes all addresses at once, which under another layout would be other arguments.
    """
    begin = block._fields_[: len(tensors)]
    pointers = [name for name, kind, *_ in block._fields_ if kind is ctypes.c_void_p]
    places = [getattr(block, name).offset for name, *_ in begin]
    in_place = places == [ctypes.sizeof(ctypes.c_void_p) * index for index in range(len(tensors))]
    if [name for name, *_ in begin] != list(tensors) or pointers != list(tensors) or not in_place:
        raise TypeError(f"{block.__name__} must begin with pointers to {', '.join(tensors)}; it has {pointers}")


check_pointers([*_INPUTS, *SortedTokens._fields, "workspace"], SortingArguments)


class _Launch(NamedTuple):
    """A launch, the pointers among its arguments, and from which byte on it zeroes moe_buf."""

    launch: hip.PreparedLaunch
    pointers: "ctypes.Array[ctypes.c_uint64]"
    zero_begin: int

    @classmethod
    def of(cls, launch: hip.PreparedLaunch) -> "_Launch":
        """Wrap a launch prepared with null pointers. They come first, so one assignment writes them all."""
        arguments = launch.arguments
        if not isinstance(arguments, SortingArguments):
            raise TypeError(f"a sort is launched with SortingArguments, not with {type(arguments).__name__}")
        return cls(launch, (ctypes.c_uint64 * len(_POINTERS)).from_buffer(arguments), arguments.moe_buf or 0)
