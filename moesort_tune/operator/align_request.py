"""Check what an alignment is asked to do before anything is launched: dtypes, shapes, layouts, devices and room."""

from typing import Any, NamedTuple

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC, MAX_EXPERTS, MAX_UNIT_SIZE
from moesort_tune.operator.arguments import (
    ArgumentError,
    check_has_memory,
    check_layout,
    check_policy,
    format_dtype,
    format_value,
)

_INT32, _INT64 = torch.int32, torch.int64

MAX_ELEMENTS = (1 << 31) - 1
"""Elements of an output that the kernels can count."""


class AlignRequest(NamedTuple):
    """The arguments of one alignment into given tensors, in the order of the torch operator's schema.

    topk_ids: int32 or int64 [rows, topk]. num_experts: ids from first_id on, which is 0, or -1 in SGLang. block_size:
    1 to 1024.
    sorted_token_ids, expert_ids: int32 of one dimension, filled to their end. num_tokens_post_pad: int32 [1].
    expert_map: int32 [num_experts] or None; None where first_id is -1. scatter_idx: int32 with an element for each
    pair, or None.
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
    """Raise ArgumentError for the first argument that is not as AlignRequest says; Problem checks rows and topk.

    A launch checks the memory, whose addresses it reads anyway; this is paid for at each call.
    """
    ids = request.topk_ids
    if not isinstance(ids, torch.Tensor) or not (ids.is_cpu or ids.is_cuda):
        raise ArgumentError(f"topk_ids must be on a CPU or on a CUDA or ROCm GPU, got {_format(ids)}")
    check_ids(ids)
    check_sizes(request.num_experts, request.block_size)
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
    if request.first_id:
        _check_first_id(request)
    check_policy(request.dispatch_policy)
    _check_room(request)


def check_outputs_are_plain(request: AlignRequest) -> None:
    """Raise ArgumentError for the first output that is lazily negated, whatever else it is."""
    for name in (*_OUTPUTS, "scatter_idx"):
        output = getattr(request, name)
        if isinstance(output, torch.Tensor) and output.is_neg():
            raise _make_negated_error(name)


def _make_negated_error(name: str) -> ArgumentError:
    return ArgumentError(f"{name} must not be a lazily negated tensor, to which nothing can be written as it is")


def check_memory(request: AlignRequest) -> None:
    """Raise ArgumentError for the first tensor that has elements and no memory which holds them."""
    for name in _TENSORS:
        tensor = getattr(request, name)
        if tensor is not None:
            check_has_memory(name, tensor)


_TENSORS = ("topk_ids", "sorted_token_ids", "expert_ids", "num_tokens_post_pad", "expert_map", "scatter_idx")
_OUTPUTS = ("sorted_token_ids", "expert_ids", "num_tokens_post_pad")


def check_ids(ids: torch.Tensor) -> None:
    """Raise ArgumentError unless topk_ids is as AlignRequest says, on any device."""
    if ids.is_nested or ids.dtype not in (_INT32, _INT64) or ids.dim() != 2 or not ids.is_contiguous():
        check_layout("topk_ids", ids)
        raise ArgumentError(
            f"topk_ids must be a contiguous int32 or int64 tensor of shape [rows, topk], got {_format(ids)}"
        )


def check_sizes(num_experts: int, block_size: int, *, max_experts: int = MAX_EXPERTS) -> None:
    """Raise ArgumentError unless the kernels take so many experts and rows of a block."""
    if not 1 <= num_experts <= max_experts:
        raise ArgumentError(f"num_experts must be 1 to {max_experts}, got {num_experts}")
    if not 1 <= block_size <= MAX_UNIT_SIZE:
        raise ArgumentError(f"block_size must be 1 to {MAX_UNIT_SIZE}, got {block_size}")


def check_map(expert_map: torch.Tensor | None, num_experts: int, device: torch.device) -> None:
    """Raise ArgumentError unless expert_map is None or as AlignRequest says."""
    if expert_map is None:
        return
    _check_int32("expert_map", expert_map, device)
    if expert_map.shape != (num_experts,):
        raise ArgumentError(f"expert_map must have the shape [{num_experts}], got {list(expert_map.shape)}")


def _check_first_id(request: AlignRequest) -> None:
    """Raise ArgumentError unless a first_id other than 0 is SGLang's."""
    if request.first_id != -1:
        raise ArgumentError(f"first_id must be 0, or -1 for ids that begin with it, got {request.first_id}")
    if request.expert_map is not None:
        raise ArgumentError("expert_map must not be given with first_id=-1, whose ids are those of one rank already")


def _check_int32(name: str, tensor: Any, device: torch.device) -> None:
    if not isinstance(tensor, torch.Tensor) or tensor.dtype is not _INT32 or not tensor.is_contiguous():
        raise ArgumentError(f"{name} must be a contiguous int32 tensor, got {_format(tensor)}")
    if tensor.is_neg():
        raise _make_negated_error(name)
    if tensor.device != device:
        raise ArgumentError(f"{name} must be on {device} like topk_ids, got {tensor.device}")


def _check_room(request: AlignRequest) -> None:
    """Raise ArgumentError unless the outputs hold the rows of any ids: each expert that has pairs may have one over."""
    pairs, block_size = request.topk_ids.numel(), request.block_size
    blocks = (pairs + min(pairs, request.num_experts) * (block_size - 1)) // block_size
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
        return format_value(value)
    layout = "" if value.layout is not torch.strided or value.is_contiguous() else f" with strides {[*value.stride()]}"
    return f"{format_dtype(value.dtype)} of shape {list(value.shape)}{layout} on {value.device}"
