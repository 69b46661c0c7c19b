"""What the torch operator takes: each tensor's dtype, shape, layout and device, checked before anything is launched."""

from typing import NamedTuple

import torch

from moesort_tune.errors import MoesortTuneError


class ArgumentError(MoesortTuneError, ValueError):
    """An argument of the operator that is not what it must be; the message names it."""


class Request(NamedTuple):
    """One call: the arguments of the operator's schema, in its order; operator.moe_sorting says what they mean.

    topk_ids: int32 [rows, topk]; topk_weights: float32 [rows, topk]; local_expert_mask: int32 [num_experts] or None;
    num_local_tokens: int32 [1] or None. All contiguous and on one device, a CPU or a GPU.
    """

    topk_ids: torch.Tensor
    topk_weights: torch.Tensor
    num_experts: int
    unit_size: int
    model_dim: int | None
    moe_buf_dtype: torch.dtype
    local_expert_mask: torch.Tensor | None
    num_local_tokens: torch.Tensor | None
    dispatch_policy: int
    table: str | None
    measure_misses: bool
    return_local_topk_ids: bool
    output_aux: bool


def check(request: Request) -> None:
    """Raises ArgumentError for the first argument that is not as Request says; Problem checks the sizes."""
    ids = request.topk_ids
    device = ids.device
    if device.type not in ("cpu", "cuda"):
        raise ArgumentError(f"topk_ids must be on a CPU or on a CUDA or ROCm GPU, got {device}")
    if ids.dtype is not torch.int32 or ids.dim() != 2 or not ids.is_contiguous():
        raise _wrong("topk_ids", ids, torch.int32, "[rows, topk]")
    _check_tensor("topk_weights", request.topk_weights, torch.float32, shape=ids.shape, device=device)
    if request.local_expert_mask is not None:
        shape = (request.num_experts,)
        _check_tensor("local_expert_mask", request.local_expert_mask, torch.int32, shape=shape, device=device)
    if request.num_local_tokens is not None:
        _check_tensor("num_local_tokens", request.num_local_tokens, torch.int32, shape=(1,), device=device)
    _check_numbers(request)


def _check_tensor(
    name: str, tensor: torch.Tensor, dtype: torch.dtype, *, shape: tuple[int, ...], device: torch.device
) -> None:
    if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_contiguous():
        raise _wrong(name, tensor, dtype, str(list(shape)))
    if tensor.device != device:
        raise ArgumentError(f"{name} must be on {device} like topk_ids, got {tensor.device}")


def _check_numbers(request: Request) -> None:
    if request.model_dim is not None and request.model_dim < 0:
        raise ArgumentError(f"model_dim must be None or at least 0, got {request.model_dim}")
    if request.dispatch_policy not in (0, 1, 2):
        raise ArgumentError(
            f"dispatch_policy must be 0 (automatic), 1 (oneshot) or 2 (multiphase), got {request.dispatch_policy}"
        )


def _wrong(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: str) -> ArgumentError:
    layout = "" if tensor.is_contiguous() else f" with strides {list(tensor.stride())}"
    return ArgumentError(
        f"{name} must be a contiguous {_short(dtype)} tensor of shape {shape}, "
        f"got {_short(tensor.dtype)} of shape {list(tensor.shape)}{layout}"
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
