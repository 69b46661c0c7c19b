"""Define `moesort_tune.moe_sorting`: MoE token sorting as a torch operator, the kernel chosen by a measured table."""

from os import PathLike
from typing import Any, Final, Literal

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC, DEFAULT_UNIT_SIZE
from moesort_tune.operator.arguments import (
    ArgumentError,
    Request,
    are_plain,
    check,
    check_layouts,
    check_memory,
    check_tensors,
    convert_table,
    convert_types,
)
from moesort_tune.operator.first_encounter import Learned, ShapeKey
from moesort_tune.operator.planned_sort import SortedTokens
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.operator.watched import is_watched
from moesort_tune.sorting.geometry import compute_max_padded, compute_max_tiles

__all__ = ["SortedTokens", "learned", "moe_sorting"]

_SCHEMA: Final = (
    "moe_sorting(Tensor topk_ids, Tensor topk_weights, int num_experts, int unit_size, int? model_dim,"
    " ScalarType moe_buf_dtype, Tensor? local_expert_mask, Tensor? num_local_tokens, int dispatch_policy,"
    " str? table, bool measure_misses, bool return_local_topk_ids, bool output_aux) -> Tensor[]"
)
"""Its arguments are those of arguments.Request; it returns the requested tensors, in the order of SortedTokens."""


def moe_sorting(
    topk_ids: torch.Tensor,
    topk_weights: torch.Tensor,
    num_experts: int,
    unit_size: int = DEFAULT_UNIT_SIZE,
    *,
    model_dim: int | None = None,
    moe_buf_dtype: torch.dtype = torch.bfloat16,
    local_expert_mask: torch.Tensor | None = None,
    num_local_tokens: torch.Tensor | None = None,
    dispatch_policy: int = AUTOMATIC,
    return_local_topk_ids: bool = False,
    output_aux: bool = False,
    on_miss: Literal["measure"] | None = None,
    table: str | PathLike[str] | None = None,
) -> SortedTokens:
    """Sort (token, slot) pairs by expert and pad each expert to whole tiles of unit_size rows, on the current stream.

    topk_ids: int32 [rows, topk], where each slot gets a row, also where a row names an expert in several slots;
    topk_weights: float32 [rows, topk]; unit_size: rows of one GEMM tile, 1 to 1024.
    model_dim: also return a zeroed moe_buf [rows, model_dim] of moe_buf_dtype.
    local_expert_mask: int32 [num_experts], 0 for experts that live elsewhere; they get no rows and no local number.
    num_local_tokens: int32 [1] on the device: only so many leading rows are real.
    dispatch_policy: 0 lets the table decide, 1 takes oneshot, 2 multiphase, 3 wave; all give the same defined output.
    return_local_topk_ids, output_aux: also return local_topk_ids; m_indices and reverse_sorted.
    on_miss='measure': time the legal kernels where the table has no row for (num_experts, topk), once for each token
    count and never under graph capture, and remember the fastest; `moesort_tune.learned` returns what is remembered.
    table: file or folder that decides for this call, instead of MOESORT_TUNE_TABLE or the shipped tables.

    CPU tensors are sorted by the `host` runtime, CUDA and ROCm tensors by their GPU; one process uses one of these.
    Under graph capture it only launches, so the first call on a device must come before.
    Raise ArgumentError and ProblemError naming the argument, KernelTooLargeError for an illegal dispatch_policy,
    TableError, NotReadyError, HipError.
    """
    if on_miss not in (None, "measure"):
        raise ArgumentError(f"on_miss must be None or 'measure', got {on_miss!r}")
    asked = Request(
        topk_ids,
        topk_weights,
        num_experts,
        unit_size,
        model_dim,
        moe_buf_dtype,
        local_expert_mask,
        num_local_tokens,
        dispatch_policy,
        convert_table(table),
        on_miss is not None,
        return_local_topk_ids,
        output_aux,
    )
    request = convert_types(asked)
    if is_watched() or not are_plain(request):
        check_layouts(request)
        return _name_tensors(torch.ops.moesort_tune.moe_sorting.default(*request), request)
    return _sort_request(request)


def learned(device: torch.device) -> dict[ShapeKey, Learned]:
    """Return what on_miss='measure' learned on `device` in this process; `moesort_tune.save` writes it into a table."""
    return get_sorting_device(device).encounters.get_learned()


def _sort_request(request: Request) -> SortedTokens:
    check(request)
    return get_sorting_device(request.topk_ids.device).sort(request)


def _name_tensors(tensors: list[torch.Tensor], request: Request) -> SortedTokens:
    """Name the tensors of the operator's list."""
    optional = iter(tensors[4:])
    sorted_token_ids, sorted_weights, sorted_expert_ids, num_valid_ids = tensors[:4]
    return SortedTokens(
        sorted_token_ids,
        sorted_weights,
        sorted_expert_ids,
        num_valid_ids,
        moe_buf=None if request.model_dim is None else next(optional),
        local_topk_ids=next(optional) if request.return_local_topk_ids else None,
        m_indices=next(optional) if request.output_aux else None,
        reverse_sorted=next(optional) if request.output_aux else None,
    )


def _sort(*arguments: Any) -> list[torch.Tensor]:
    """Sort on any device; torch has replaced tensors that stood for others by those."""
    request = Request(*arguments)
    check_memory(request)
    return [tensor for tensor in _sort_request(request) if tensor is not None]


def _sort_fake(*arguments: Any) -> list[torch.Tensor]:
    """Return tensors of the shapes and dtypes that `_sort` returns, for torch.compile."""
    request = Request(*arguments)
    check_tensors(request)
    ids, (rows, topk) = request.topk_ids, request.topk_ids.shape
    sizes = (rows, topk, request.num_experts, request.unit_size)
    padded = ids.new_empty(compute_max_padded(*sizes))
    outputs = [
        padded,
        request.topk_weights.new_empty(padded.shape),
        ids.new_empty(compute_max_tiles(*sizes)),
        ids.new_empty(2),
    ]
    if request.model_dim is not None:
        outputs.append(ids.new_empty(rows, request.model_dim, dtype=request.moe_buf_dtype))
    if request.return_local_topk_ids:
        outputs.append(torch.empty_like(ids))
    if request.output_aux:
        outputs += [torch.empty_like(padded), ids.new_empty(rows * topk)]
    return outputs


def _sort_without_gradient(*arguments: Any) -> list[torch.Tensor]:
    """Sort below autograd, so that outputs require no gradient where the weights do."""
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.moesort_tune.moe_sorting.default(*arguments)  # type: ignore[no-any-return]


def _sort_batch(info: Any, batch_dims: tuple[int | None, ...], *arguments: Any) -> tuple[list[torch.Tensor], list[int]]:
    """Sort each element of a batch by itself, for torch.func.vmap; batch_dims: where each argument has its batch."""
    if info.batch_size == 0:
        raise ArgumentError("moe_sorting cannot be mapped over a batch of 0, whose outputs have no sizes")
    pairs = list(zip(arguments, batch_dims, strict=True))
    elements = [
        [value if dim is None else value.select(dim, element).contiguous() for value, dim in pairs]
        for element in range(info.batch_size)
    ]
    results = [torch.ops.moesort_tune.moe_sorting.default(*element) for element in elements]
    outputs = [torch.stack(tensors) for tensors in zip(*results, strict=True)]
    return outputs, [0] * len(outputs)


_library = torch.library.Library("moesort_tune", "DEF")
_library.define(_SCHEMA, tags=(torch.Tag.pt2_compliant_tag,))
_library.impl("moe_sorting", _sort, "CompositeExplicitAutograd")
_library.impl("moe_sorting", _sort_without_gradient, "Autograd")
torch.library.register_fake("moesort_tune::moe_sorting", _sort_fake, lib=_library)
if hasattr(torch.library, "register_vmap"):  # torch 2.5; without it torch says that there is no batching rule
    torch.library.register_vmap("moesort_tune::moe_sorting", _sort_batch, lib=_library)
