"""The call that is steered, and callers of it in AITER's forms."""

import os
from typing import Any

import torch

import aiter  # noqa: A004 - this package, not the builtin function

_USE_CK_MOE_SORTING = False
_USE_FLYDSL_MOE_SORTING = False

others: list[str] = []
"""Which backends other than the two paths were called."""


def is_flydsl_available() -> bool:
    """Return whether AITER's second backend is installed."""
    return True


def moe_sorting(  # noqa: PLR0917 - AITER's signature
    topk_ids: torch.Tensor,
    topk_weights: torch.Tensor,
    num_experts: int,
    model_dim: int,
    moebuf_dtype: torch.dtype,
    block_size: int = 32,
    expert_mask: torch.Tensor | None = None,
    num_local_tokens: torch.Tensor | None = None,
    dispatch_policy: int = 0,
    return_local_topk_ids: bool = False,
    accumulate: bool = True,
    flat: bool = False,
    output_aux: bool = False,
) -> tuple[torch.Tensor, ...]:
    """Return five tensors, a sixth with return_local_topk_ids, seven with output_aux; with flat the inputs unsorted."""
    own_backend = not (return_local_topk_ids or flat or output_aux or _USE_CK_MOE_SORTING)
    if _USE_FLYDSL_MOE_SORTING and own_backend and dispatch_policy == 0:
        others.append("FlyDSL")
    if flat:
        others.append("flat")
        moe_buf = torch.empty((topk_ids.shape[0], model_dim), dtype=moebuf_dtype, device=topk_ids.device)
        return topk_ids, topk_weights, topk_ids, topk_ids, moe_buf
    return _moe_sorting_impl(
        *(topk_ids, topk_weights, num_experts, model_dim, moebuf_dtype, block_size, expert_mask, num_local_tokens),
        dispatch_policy,
        use_opus=return_local_topk_ids or not _USE_CK_MOE_SORTING,
        return_local_topk_ids=return_local_topk_ids,
        accumulate=accumulate,
        output_aux=output_aux,
    )


def _moe_sorting_impl(  # noqa: PLR0917 - AITER's signature
    topk_ids: torch.Tensor,
    topk_weights: torch.Tensor,
    num_experts: int,
    model_dim: int,
    moebuf_dtype: torch.dtype,
    block_size: int,
    expert_mask: torch.Tensor | None,
    num_local_tokens: torch.Tensor | None,
    dispatch_policy: int,
    use_opus: bool,
    return_local_topk_ids: bool = False,
    accumulate: bool = True,
    output_aux: bool = False,
) -> tuple[torch.Tensor, ...]:
    """Allocate and sort. A framework may replace this global; CK stands for the same kernels here."""
    del use_opus
    rows, topk = topk_ids.shape
    padded = topk_ids.numel() + num_experts * block_size - topk
    sorted_ids = topk_ids.new_empty(padded)
    sorted_weights = topk_weights.new_empty(padded)
    sorted_expert_ids = topk_ids.new_empty(-(-padded // block_size))
    num_valid_ids = topk_ids.new_empty(2)
    buffer_shape = (rows, model_dim) if accumulate or expert_mask is not None else (0, 0)
    moe_buf = torch.empty(buffer_shape, dtype=moebuf_dtype, device=topk_ids.device)
    local_topk_ids = torch.empty_like(topk_ids) if return_local_topk_ids else None
    aux = (topk_ids.new_empty(padded), topk_ids.new_empty(rows * topk)) if output_aux else (None, None)
    nbytes = aiter.moe_sorting_opus_get_workspace_size(rows, num_experts, topk, dispatch_policy)
    workspace = topk_ids.new_empty(nbytes, dtype=torch.uint8) if nbytes else None
    aiter.moe_sorting_opus_fwd(
        *(topk_ids, topk_weights, sorted_ids, sorted_weights, sorted_expert_ids, num_valid_ids, moe_buf),
        *(num_experts, int(block_size), expert_mask, num_local_tokens, workspace, dispatch_policy),
        *(local_topk_ids, *aux),
    )
    five = (sorted_ids, sorted_weights, sorted_expert_ids, num_valid_ids, moe_buf)
    if output_aux:
        return (*five, *(tensor for tensor in aux if tensor is not None))
    return five if local_topk_ids is None else (*five, local_topk_ids)


def _moe_sorting_into(  # noqa: PLR0917 - AITER's signature
    topk_ids: torch.Tensor,
    topk_weights: torch.Tensor,
    num_experts: int,
    model_dim: int,
    moebuf_dtype: torch.dtype,
    block_size: int = 32,
    expert_mask: torch.Tensor | None = None,
    num_local_tokens: torch.Tensor | None = None,
    dispatch_policy: int = 0,
    return_local_topk_ids: bool = False,
    accumulate: bool = True,
    flat: bool = False,
    output_aux: bool = False,
    output: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """Sort as AITER after e4048607: moe_buf is the caller's `output` where one is given and moe_buf is made."""
    result = _sort(
        *(topk_ids, topk_weights, num_experts, model_dim, moebuf_dtype, block_size, expert_mask, num_local_tokens),
        *(dispatch_policy, return_local_topk_ids, accumulate, flat, output_aux),
    )
    is_made = not flat and (accumulate or output_aux or expert_mask is not None)
    return result if output is None or not is_made else (*result[:4], output.zero_(), *result[5:])


IS_NEWER = os.environ.get("AITER_STAND_IN") == "newer"
"""Whether this plays an AITER after e4048607: with `output`, without is_flydsl_available."""

_sort = moe_sorting
if IS_NEWER:
    _moe_sorting_into.__name__ = "moe_sorting"
    moe_sorting = _moe_sorting_into
    del is_flydsl_available


def fused_moe(
    topk_ids: torch.Tensor,
    topk_weight: torch.Tensor,
    num_experts: int,
    *,
    expert_mask: torch.Tensor | None = None,
    moe_sorting_dispatch_policy: int = 0,
    **options: Any,
) -> tuple[torch.Tensor, ...]:
    """Call the module's global as AITER's fused_moe does: the policy ninth by position, the rest by keyword."""
    return moe_sorting(
        topk_ids,
        topk_weight,
        num_experts,
        8,
        torch.bfloat16,
        32,
        expert_mask,
        None,
        moe_sorting_dispatch_policy,
        return_local_topk_ids=options.get("need_local_topk_ids", False),
        accumulate=options.get("accumulate", True),
        flat=options.get("flat", False),
        **_select_output(options),
    )


def _select_output(options: dict[str, Any]) -> dict[str, Any]:
    """Return `output` as the newer AITER passes it on every call."""
    return {"output": options.get("output")} if IS_NEWER else {}


def fused_moe_with_aux(topk_ids: torch.Tensor, topk_weight: torch.Tensor, num_experts: int) -> tuple[torch.Tensor, ...]:
    """Call it as AITER does for kernels that want the two further outputs."""
    return moe_sorting(topk_ids, topk_weight, num_experts, 8, torch.bfloat16, 32, accumulate=False, output_aux=True)
