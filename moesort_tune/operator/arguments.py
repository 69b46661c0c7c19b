"""Check moe_sorting's arguments before anything is launched: each tensor's dtype, shape, layout and device.

What all operators ask of an integer, a table, a policy and a tensor's memory is here too.
"""

import operator
from collections.abc import Iterator
from os import PathLike, fspath
from typing import Any, NamedTuple

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC, DEFAULT_UNIT_SIZE, Condition
from moesort_tune.errors import MoesortTuneError
from moesort_tune.operator.policies import POLICIES, describe_policies

_INT32, _FLOAT32 = torch.int32, torch.float32


class ArgumentError(MoesortTuneError, ValueError):
    """An argument of the operator that is not what it must be; the message names it."""


class Request(NamedTuple):
    """The arguments of one call, in the order of the operator's schema; operator.moe_sorting documents them.

    topk_ids: int32 [rows, topk]; topk_weights: float32 [rows, topk]; local_expert_mask: int32 [num_experts] or None;
    num_local_tokens: int32 [1] or None. All contiguous and on one device, a CPU or a GPU.
    """

    topk_ids: torch.Tensor
    topk_weights: torch.Tensor
    num_experts: int
    unit_size: int = DEFAULT_UNIT_SIZE
    model_dim: int | None = None
    moe_buf_dtype: torch.dtype = torch.bfloat16
    local_expert_mask: torch.Tensor | None = None
    num_local_tokens: torch.Tensor | None = None
    dispatch_policy: int = AUTOMATIC
    table: str | None = None
    measure_misses: bool = False
    return_local_topk_ids: bool = False
    output_aux: bool = False

    @property
    def condition(self) -> Condition:
        """The work of the call besides sorting: a moe_buf, a mask."""
        return Condition(bool(self.model_dim), self.local_expert_mask is not None)


def convert_types(request: Request) -> Request:
    """Return the request with integers of other packages made Python's own. Raise ArgumentError for a wrong type.

    Later steps take 128 and 128.0 for the same key.
    """
    if _is_typed(request):
        return request
    for name in _TENSORS:
        tensor = getattr(request, name)
        if not isinstance(tensor, torch.Tensor) and not (tensor is None and name in _OPTIONAL):
            raise ArgumentError(f"{name} must be a tensor, got {format_value(tensor)}")
    if not isinstance(request.moe_buf_dtype, torch.dtype):
        raise ArgumentError(f"moe_buf_dtype must be a torch.dtype, got {format_value(request.moe_buf_dtype)}")
    integers = {name: _convert_optional(name, getattr(request, name)) for name in _INTEGERS}
    return request._replace(**integers)  # type: ignore[arg-type]


_OPTIONAL = ("local_expert_mask", "num_local_tokens", "model_dim")
_INTEGERS = ("num_experts", "unit_size", "model_dim", "dispatch_policy")


def _is_typed(request: Request) -> bool:
    """Return whether all types are those of most calls; paid for at each sort."""
    tensor = torch.Tensor
    mask, tokens, model_dim = request.local_expert_mask, request.num_local_tokens, request.model_dim
    return (
        type(request.topk_ids) is tensor
        and type(request.topk_weights) is tensor
        and type(request.num_experts) is int
        and type(request.unit_size) is int
        and type(request.dispatch_policy) is int
        and (model_dim is None or type(model_dim) is int)
        and (mask is None or type(mask) is tensor)
        and (tokens is None or type(tokens) is tensor)
        and type(request.moe_buf_dtype) is torch.dtype
    )


def _convert_optional(name: str, value: Any) -> int | None:
    return None if value is None and name in _OPTIONAL else convert_integer(name, value)


def convert_integer(name: str, value: Any) -> int:
    """Return an integer of another package as Python's own. Raise ArgumentError for what is no integer."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, (bool, torch.Tensor)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be an integer, got {format_value(value)}") from None


def convert_table(table: str | PathLike[str] | None) -> str | None:
    """Return the path of a table as text. Raise ArgumentError for what is neither None nor a path."""
    if table is not None and (not isinstance(table, (str, PathLike)) or not fspath(table)):
        raise ArgumentError(f"table must be None or the path of a file or a folder, got {table!r}")
    return None if table is None else fspath(table)


def format_value(value: Any) -> str:
    """Return a value with its type, for messages."""
    return f"{value!r:.60} of type {type(value).__name__}"


_TENSORS = ("topk_ids", "topk_weights", "local_expert_mask", "num_local_tokens")


def _list_tensors(request: Request) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that were given, by name."""
    for name in _TENSORS:
        tensor = getattr(request, name)
        if tensor is not None:
            yield name, tensor


def are_plain(request: Request) -> bool:
    """Return whether kernels can read all tensors where they lie; paid for at each sort.

    Others stand for a tensor (of a subclass, of torch.func, fake, on `meta`), are negated only when they are read,
    lost their storage, or are empty: torch's dispatcher handles most of them.
    """
    ids, weights, mask, tokens = request[0], request[1], request[6], request[7]
    tensor = torch.Tensor
    try:
        return (
            type(ids) is tensor
            and type(weights) is tensor
            and ids.data_ptr() != 0
            and weights.data_ptr() != 0
            and not ids.is_neg()
            and not weights.is_neg()
            and (mask is None or _is_plain(mask))
            and (tokens is None or _is_plain(tokens))
        )
    except RuntimeError:  # one has no storage to ask
        return False


def _is_plain(tensor: torch.Tensor) -> bool:
    return type(tensor) is torch.Tensor and tensor.data_ptr() != 0 and not tensor.is_neg()


def check_layouts(request: Request) -> None:
    """Raise ArgumentError for the first tensor that is sparse, nested or of another layout than a plain array."""
    for name, tensor in _list_tensors(request):
        check_layout(name, tensor)


def check_layout(name: str, tensor: torch.Tensor) -> None:
    """Raise ArgumentError for a tensor that is sparse, nested or of another layout than a plain array."""
    if tensor.is_nested or tensor.layout is not torch.strided:
        got = "a nested one" if tensor.is_nested else str(tensor.layout)
        raise ArgumentError(f"{name} must be a dense tensor (torch.strided), got {got}; make it dense first")


def check_memory(request: Request) -> None:
    """Raise ArgumentError for the first tensor that has elements and no memory which holds them."""
    check_layouts(request)
    for name, tensor in _list_tensors(request):
        check_has_memory(name, tensor)


def check_has_memory(name: str, tensor: torch.Tensor) -> None:
    """Raise ArgumentError for a tensor that has elements and no memory which holds them."""
    if not _has_memory(tensor):
        raise ArgumentError(
            f"{name} must have memory of its own, got {list(tensor.shape)} elements without any (a tensor that "
            "stands for another one, or whose storage was resized to 0); pass a copy that holds the values"
        )


def _has_memory(tensor: torch.Tensor) -> bool:
    try:
        return tensor.data_ptr() != 0 or not tensor.numel()
    except RuntimeError:  # there is no storage to ask
        return not tensor.numel()


def check(request: Request) -> None:
    """Raise ArgumentError for the first argument that is not as Request says; Problem checks the sizes."""
    ids = request.topk_ids
    if not (ids.is_cpu or ids.is_cuda):  # a device's `type` would cost five times as much
        raise ArgumentError(f"topk_ids must be on a CPU or on a CUDA or ROCm GPU, got {ids.device}")
    try:
        check_tensors(request)
    except RuntimeError:  # nested tensors have no shape to ask for
        check_layouts(request)
        raise


def check_tensors(request: Request) -> None:
    """Check as `check` does, on any device; also tensors that have no data. Raise ArgumentError."""
    ids, weights = request.topk_ids, request.topk_weights
    device, shape = ids.device, ids.shape
    if ids.dtype is not _INT32 or len(shape) != 2 or not ids.is_contiguous():
        raise _make_error("topk_ids", ids, _INT32, "[rows, topk]")
    if weights.dtype is not _FLOAT32 or weights.shape != shape or not weights.is_contiguous():
        raise _make_error("topk_weights", weights, _FLOAT32, str(list(shape)))
    _check_device("topk_weights", weights, device)
    if request.local_expert_mask is not None:
        _check_int32("local_expert_mask", request.local_expert_mask, request.num_experts)
        _check_device("local_expert_mask", request.local_expert_mask, device)
    if request.num_local_tokens is not None:
        _check_int32("num_local_tokens", request.num_local_tokens, 1)
        _check_device("num_local_tokens", request.num_local_tokens, device)
    _check_numbers(request.dispatch_policy, request.model_dim)


def _check_int32(name: str, tensor: torch.Tensor, length: int) -> None:
    if tensor.dtype is not _INT32 or tensor.shape != (length,) or not tensor.is_contiguous():
        raise _make_error(name, tensor, _INT32, f"[{length}]")


def _check_device(name: str, tensor: torch.Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise ArgumentError(f"{name} must be on {device} like topk_ids, got {tensor.device}")


def _check_numbers(dispatch_policy: int, model_dim: int | None) -> None:
    if model_dim is not None and model_dim < 0:
        raise ArgumentError(f"model_dim must be None or at least 0, got {model_dim}")
    check_policy(dispatch_policy)


def check_policy(dispatch_policy: int) -> None:
    """Raise ArgumentError unless it is the number of a kernel, or 0."""
    if dispatch_policy not in POLICIES:
        raise ArgumentError(f"dispatch_policy must be {describe_policies()}, got {dispatch_policy}")


def _make_error(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: str) -> ArgumentError:
    layout = "" if tensor.is_contiguous() else f" with strides {list(tensor.stride())}"
    return ArgumentError(
        f"{name} must be a contiguous {format_dtype(dtype)} tensor of shape {shape}, "
        f"got {format_dtype(tensor.dtype)} of shape {list(tensor.shape)}{layout}"
    )


def format_dtype(dtype: torch.dtype) -> str:
    """Return 'bfloat16' for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")
