"""Check what an alignment is asked to do before anything is launched: dtypes, shapes, layouts, devices and room."""

import operator
from typing import Any, NamedTuple

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC
from moesort_tune.operator.arguments import ArgumentError, format_dtype
from moesort_tune.operator.policies import POLICIES, describe_policies

_INT32, _INT64 = torch.int32, torch.int64

MAX_ELEMENTS = (1 << 31) - 1
"""Elements of an output that the kernels can count."""


class AlignRequest(NamedTuple):
    """The arguments of one alignment into given tensors, in the order of the torch operator's schema.

    topk_ids: int32 or int64 [rows, topk]. num_experts: ids from first_id on, which is 0, or -1 in SGLang.
    sorted_token_ids, expert_ids: int32 of one dimension, filled to their end. num_tokens_post_pad: int32 [1].
    expert_map: int32 [num_experts] or None. scatter_idx: int32 with an element for each pair, or None.
    ignore_invalid_experts: whether pairs of experts that expert_map has -1 for get no row.
    All contiguous and on one device, a CPU or a GPU.
    """

    topk_ids: torch.Tensor
    num_experts: int
    block_size: int
    sorted_token_ids: torch.Tensor
    expert_ids: torch.Tensor
    num_tokens_post_pad: torch.Tensor
    expert_map: torch.Tensor | None = None
    scatter_idx: torch.Tensor | None = None
    first_id: int = 0
    ignore_invalid_experts: bool = True
    dispatch_policy: int = AUTOMATIC
    table: str | None = None


def check_request(request: AlignRequest) -> None:
    """Raise ArgumentError for the first argument that is not as AlignRequest says; Problem checks the sizes."""
    ids = request.topk_ids
    if not isinstance(ids, torch.Tensor) or not (ids.is_cpu or ids.is_cuda):
        raise ArgumentError(f"topk_ids must be on a CPU or on a CUDA or ROCm GPU, got {_format(ids)}")
    check_ids(ids)
    outputs = request.sorted_token_ids, request.expert_ids, request.num_tokens_post_pad
    for name, output in zip(_OUTPUTS, outputs, strict=True):
        _check_int32(name, output, ids.device)
    if outputs[2].numel() != 1:
        raise ArgumentError(f"num_tokens_post_pad must have 1 element, got {outputs[2].numel()}")
    check_map(request.expert_map, request.num_experts, ids.device)
    if request.scatter_idx is not None:
        _check_int32("scatter_idx", request.scatter_idx, ids.device)
        if request.scatter_idx.numel() != ids.numel():
            raise ArgumentError(
                f"scatter_idx must have an element for each of {ids.numel()} pairs, got {request.scatter_idx.numel()}"
            )
    if request.dispatch_policy not in POLICIES:
        raise ArgumentError(f"dispatch_policy must be {describe_policies()}, got {request.dispatch_policy}")
    _check_room(request)


_OUTPUTS = ("sorted_token_ids", "expert_ids", "num_tokens_post_pad")


def check_ids(ids: torch.Tensor) -> None:
    """Raise ArgumentError unless topk_ids is as AlignRequest says, on any device."""
    if ids.dtype not in (_INT32, _INT64) or ids.dim() != 2 or not ids.is_contiguous():
        raise ArgumentError(
            f"topk_ids must be a contiguous int32 or int64 tensor of shape [rows, topk], got {_format(ids)}"
        )


def check_map(expert_map: torch.Tensor | None, num_experts: int, device: torch.device) -> None:
    """Raise ArgumentError unless expert_map is None or as AlignRequest says."""
    if expert_map is None:
        return
    _check_int32("expert_map", expert_map, device)
    if expert_map.shape != (num_experts,):
        raise ArgumentError(f"expert_map must have the shape [{num_experts}], got {list(expert_map.shape)}")


def convert_integer(name: str, value: Any) -> int:
    """Return an integer of another package as Python's own. Raise ArgumentError for what is no integer."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, (bool, torch.Tensor)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be an integer, got {value!r:.60} of type {type(value).__name__}") from None


def _check_int32(name: str, tensor: Any, device: torch.device) -> None:
    if not isinstance(tensor, torch.Tensor) or tensor.dtype is not _INT32 or not tensor.is_contiguous():
        raise ArgumentError(f"{name} must be a contiguous int32 tensor, got {_format(tensor)}")
    if tensor.device != device:
        raise ArgumentError(f"{name} must be on {device} like topk_ids, got {tensor.device}")


def _check_room(request: AlignRequest) -> None:
    """Raise ArgumentError unless the outputs hold the rows of any ids: each expert that has pairs may have one over."""
    pairs, block_size = request.topk_ids.numel(), request.block_size
    blocks = (pairs + min(pairs, request.num_experts) * (block_size - 1)) // max(1, block_size)
    needed = {"sorted_token_ids": blocks * block_size, "expert_ids": blocks}
    for name, elements in needed.items():
        output = getattr(request, name)
        if not elements <= output.numel() <= MAX_ELEMENTS:
            raise ArgumentError(
                f"{name} must have {elements} to {MAX_ELEMENTS} elements for {pairs} pairs, {request.num_experts} "
                f"experts and blocks of {block_size}, got {output.numel()}"
            )


def _format(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"{value!r:.60} of type {type(value).__name__}"
    layout = "" if value.layout is not torch.strided or value.is_contiguous() else f" with strides {[*value.stride()]}"
    return f"{format_dtype(value.dtype)} of shape {list(value.shape)}{layout} on {value.device}"
