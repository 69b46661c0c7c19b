"""Define `moesort_tune.moe_align_block_size`, what feeds the grouped GEMMs of vLLM and SGLang, as torch operators."""

from os import PathLike
from typing import Any, Final, TypeVar, cast

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC, MAX_EXPERTS
from moesort_tune.operator.align_device import count_experts, get_align_device
from moesort_tune.operator.align_request import (
    AlignRequest,
    check_ids,
    check_map,
    check_outputs_are_plain,
    check_request,
    check_sizes,
)
from moesort_tune.operator.arguments import ArgumentError, check_layout, convert_integer, convert_table, format_value
from moesort_tune.operator.watched import is_watched
from moesort_tune.runtime.dispatcher import Dispatcher
from moesort_tune.sorting.align import AlignProblem, FrameworkName

__all__ = ["fill_aligned", "moe_align_block_size"]

Input = TypeVar("Input", bound=torch.Tensor | None)

_SCHEMA: Final = (
    "moe_align_block_size(Tensor topk_ids, int block_size, int num_experts, Tensor? expert_map, bool pad_sorted_ids,"
    " bool ignore_invalid_experts, bool return_scatter_idx, str framework, int dispatch_policy, str? table) -> Tensor[]"
)

_FILL_SCHEMA: Final = (
    "fill_aligned(Tensor topk_ids, int num_experts, int block_size, Tensor(a!) sorted_token_ids,"
    " Tensor(b!) expert_ids, Tensor(c!) num_tokens_post_pad, Tensor? expert_map, Tensor(d!)? scatter_idx,"
    " int first_id, bool ignore_invalid_experts, int dispatch_policy, str? table) -> ()"
)
"""Its arguments are those of AlignRequest."""


def moe_align_block_size(  # noqa: PLR0917 - the arguments of vLLM, in its order
    topk_ids: torch.Tensor,
    block_size: int,
    num_experts: int,
    expert_map: torch.Tensor | None = None,
    pad_sorted_ids: bool = False,
    ignore_invalid_experts: bool = False,
    return_scatter_idx: bool = False,
    *,
    framework: FrameworkName = "vllm",
    dispatch_policy: int = AUTOMATIC,
    table: str | PathLike[str] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Sort (token, slot) pairs by expert and pad each expert to whole blocks of block_size rows, on the current stream.

    topk_ids: int32 or int64 [rows, topk]; block_size: 1 to 1024; num_experts: all, also those of other ranks, at most
    1024, or 1023 beside SGLang's id -1.
    expert_map: int32 [num_experts], the id of each expert on this rank, 0 to 1023, or -1. Pairs of experts with -1 get
    rows in blocks of expert -1, or with ignore_invalid_experts none. Ids that are no expert's never get a row.
    pad_sorted_ids: let sorted_token_ids have a multiple of block_size elements.
    framework: 'vllm', or 'sglang', whose ids begin with -1 for pairs that belong elsewhere: these get rows in blocks of
    expert -1 unless ignore_invalid_experts, and there are neither expert_map nor pad_sorted_ids.
    dispatch_policy: 0 lets the table decide, 1 takes oneshot, 2 multiphase, 3 wave; all give the same output.
    table: file or folder that decides for this call, instead of MOESORT_TUNE_TABLE or the shipped tables.

    Return sorted_token_ids int32 [as many as the framework allocates]: `token * topk + slot`, by expert and then in the
    order of topk_ids, so that equal calls give equal outputs; padding is the number of pairs. expert_ids int32 [as many
    blocks as these are]: each block's expert; -1 in blocks that are not used. num_tokens_post_pad int32 [1]: rows used,
    padding included. With return_scatter_idx also scatter_idx int32 [rows * topk, 1]: each pair's own number, or -1
    where it has no row; with an expert_map it needs ignore_invalid_experts. An expert that a row names in several slots
    gets a row for each.

    CPU tensors are sorted by the `host` runtime, CUDA and ROCm tensors by their GPU; one process uses one of these.
    Under graph capture it only launches, so the first call on a device must come before. Batched and LoRA forms are
    not covered. Raise ArgumentError and ProblemError naming the argument, KernelTooLargeError for an illegal
    dispatch_policy, TableError, NotReadyError, HipError.
    """
    if framework not in ("vllm", "sglang"):
        raise ArgumentError(f"framework must be 'vllm' or 'sglang', got {framework!r}")
    if framework == "sglang" and (expert_map is not None or pad_sorted_ids):
        raise ArgumentError("expert_map and pad_sorted_ids must not be given with framework='sglang', which has none")
    if return_scatter_idx and expert_map is not None and not ignore_invalid_experts:
        raise ArgumentError("return_scatter_idx with an expert_map needs ignore_invalid_experts")
    asked = (
        topk_ids,
        convert_integer("block_size", block_size),
        convert_integer("num_experts", num_experts),
        _resolve(expert_map),
        bool(pad_sorted_ids),
        bool(ignore_invalid_experts),
        bool(return_scatter_idx),
        framework,
        convert_integer("dispatch_policy", dispatch_policy),
        convert_table(table),
    )
    if _goes_through_torch(topk_ids):
        return tuple(torch.ops.moesort_tune.moe_align_block_size.default(*asked))
    return tuple(_align(*asked))


def fill_aligned(  # noqa: PLR0917 - the arguments of vLLM's operator, in its order
    topk_ids: torch.Tensor,
    num_experts: int,
    block_size: int,
    sorted_token_ids: torch.Tensor,
    expert_ids: torch.Tensor,
    num_tokens_post_pad: torch.Tensor,
    *,
    expert_map: torch.Tensor | None = None,
    scatter_idx: torch.Tensor | None = None,
    first_id: int = 0,
    ignore_invalid_experts: bool = True,
    dispatch_policy: int = AUTOMATIC,
    table: str | PathLike[str] | None = None,
) -> None:
    """Do what moe_align_block_size does, into the caller's tensors: each is filled to its end, nothing behind it.

    sorted_token_ids, expert_ids: int32, contiguous, with room for the rows of any ids: of P pairs and E experts
    (P + min(P, E) * (block_size - 1)) // block_size blocks. num_tokens_post_pad: int32 [1]. scatter_idx: int32 with an
    element for each pair. first_id: the lowest id, 0, or -1 for SGLang, whose num_experts counts it and which has no
    expert_map.

    No tensor may overlap another, which is not checked. Whatever else is wrong is raised before anything is launched;
    see moe_align_block_size.
    """
    request = AlignRequest(
        topk_ids,
        convert_integer("num_experts", num_experts),
        convert_integer("block_size", block_size),
        sorted_token_ids,
        expert_ids,
        num_tokens_post_pad,
        _resolve(expert_map),
        scatter_idx,
        convert_integer("first_id", first_id),
        bool(ignore_invalid_experts),
        convert_integer("dispatch_policy", dispatch_policy),
        convert_table(table),
    )
    if _goes_through_torch(topk_ids):
        torch.ops.moesort_tune.fill_aligned.default(*_resolve_request(request))
        return
    _fill(*request)


def find_dispatcher(
    topk_ids: torch.Tensor, num_experts: int, first_id: int = 0
) -> tuple[Dispatcher, tuple[int, int, int]]:
    """Return what chooses fill_aligned's kernel for a call without dispatch_policy and table, and what it is asked.

    topk_ids, num_experts, first_id: as fill_aligned took them on this device before.
    """
    rows, topk = topk_ids.shape
    return get_align_device(topk_ids.device).get_dispatcher(None), (rows, count_experts(num_experts, first_id), topk)


def _goes_through_torch(ids: torch.Tensor) -> bool:
    """Return whether torch's dispatcher does a call. Raise ArgumentError for what it would fail at by itself."""
    if not is_watched() and _is_plain(ids):
        return False
    if isinstance(ids, torch.Tensor):
        check_layout("topk_ids", ids)
    return True


def _is_plain(ids: torch.Tensor) -> bool:
    """Return whether kernels can read the ids where they lie: of no subclass, not fake, not on `meta`, not negated."""
    if not isinstance(ids, torch.Tensor):
        return True  # to be refused
    try:
        has_memory = ids.data_ptr() != 0 or not (ids.numel() or ids.is_meta)
        return type(ids) is torch.Tensor and has_memory and not ids.is_neg()
    except RuntimeError:  # there is no storage to ask
        return False


def _resolve(tensor: Input) -> Input:
    """Return an input whose memory holds its values: torch may negate lazily. The compiler does so by itself."""
    if isinstance(tensor, torch.Tensor) and not torch.compiler.is_compiling() and tensor.is_neg():
        return cast(Input, tensor.resolve_neg())
    return tensor


def _resolve_request(request: AlignRequest) -> AlignRequest:
    """Return the request with its ids resolved, for torch's dispatcher, which cannot where scatter_idx is None.

    Raise ArgumentError for outputs that it would have to resolve. The compiler asks for them by itself.
    """
    if not torch.compiler.is_compiling():
        check_outputs_are_plain(request)
    return request._replace(topk_ids=_resolve(request.topk_ids))


def _align(*arguments: Any) -> list[torch.Tensor]:
    """Align into new tensors. Its arguments are those of the schema."""
    topk_ids, block_size, _, expert_map, _, ignore, _, _, dispatch_policy, table = arguments
    problem, outputs = _allocate(*arguments)
    sorted_token_ids, expert_ids, num_tokens_post_pad, *scatter_idx = outputs
    _fill(
        topk_ids,
        problem.sort.num_experts,
        block_size,
        sorted_token_ids,
        expert_ids,
        num_tokens_post_pad,
        expert_map,
        scatter_idx[0] if scatter_idx else None,
        problem.first_id,
        ignore,
        dispatch_policy,
        table,
    )
    return outputs


def _allocate(*arguments: Any) -> tuple[AlignProblem, list[torch.Tensor]]:
    """Return the sizes of a call, and tensors for its outputs on any device. Raise ArgumentError, ProblemError."""
    topk_ids, block_size, num_experts, expert_map, pad, ignore, return_scatter_idx, framework, _, _ = arguments
    if not isinstance(topk_ids, torch.Tensor):
        raise ArgumentError(f"topk_ids must be a tensor, got {format_value(topk_ids)}")
    check_ids(topk_ids)
    check_sizes(num_experts, block_size, max_experts=MAX_EXPERTS - (framework == "sglang" and not ignore))
    check_map(expert_map, num_experts, topk_ids.device)
    rows, topk = topk_ids.shape
    problem = AlignProblem(
        rows, topk, num_experts, block_size, cast(FrameworkName, framework), ignore_invalid_experts=ignore,
        pad_sorted_ids=pad,
    )  # fmt: skip
    sizes: list[tuple[int, ...]] = [(problem.capacity_rows,), (problem.capacity_blocks,), (1,)]
    if return_scatter_idx:
        sizes.append((rows * topk, 1))
    return problem, [topk_ids.new_empty(size, dtype=torch.int32) for size in sizes]


def _align_fake(*arguments: Any) -> list[torch.Tensor]:
    """Return tensors of the shapes and dtypes that `_align` returns, for torch.compile."""
    return _allocate(*arguments)[1]


def _fill(*arguments: Any) -> None:
    """Align into given tensors on any device. Its arguments are those of the schema."""
    request = AlignRequest(*arguments)
    check_request(request)
    get_align_device(request.topk_ids.device).align(request)


def _fill_fake(*arguments: Any) -> None:
    """Check nothing: the tensors have no elements."""


_library = torch.library.Library("moesort_tune", "FRAGMENT")
for _schema, _real, _fake in ((_SCHEMA, _align, _align_fake), (_FILL_SCHEMA, _fill, _fill_fake)):
    _name = _schema.partition("(")[0]
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(_name, _real, "CompositeExplicitAutograd")
    torch.library.register_fake(f"moesort_tune::{_name}", _fake, lib=_library)
