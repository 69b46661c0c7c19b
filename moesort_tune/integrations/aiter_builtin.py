"""The builtin kernels in place of AITER's: the same arguments, and results of the same number and shapes."""

from typing import Any

import torch

from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.aiter_call import Call
from moesort_tune.operator.arguments import ArgumentError
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import ProblemError


class UnsupportedError(MoesortTuneError):
    """A call that the builtin kernels do not support."""


def sort_like_aiter(call: Call, table: str | None) -> tuple[torch.Tensor, ...]:
    """Return what AITER's moe_sorting returns, for a call that is neither flat nor output_aux.

    These are sorted_ids, sorted_weights, sorted_expert_ids, num_valid_ids, moe_buf, and where the call asks for it
    local_topk_ids. moe_buf is [rows, model_dim] of zeros if it is accumulated into or experts are masked, else
    [0, 0]. Raise UnsupportedError before anything is launched.
    """
    ids, dtype = call.get("topk_ids"), call.get("moebuf_dtype")
    try:
        result = moe_sorting(
            ids,
            call.get("topk_weights"),
            call.get("num_experts"),
            call.get("block_size"),
            model_dim=call.get("model_dim") if call.condition.moe_buf else None,
            moe_buf_dtype=dtype,
            return_local_topk_ids=bool(call.get("return_local_topk_ids")),
            table=table,
            **_build_optional_arguments(call),
        )
    except (ArgumentError, ProblemError, KernelTooLargeError) as error:
        raise UnsupportedError(f"the builtin kernels do not support this call: {error}") from error
    moe_buf = torch.empty((0, 0), dtype=dtype, device=ids.device) if result.moe_buf is None else result.moe_buf
    local = () if result.local_topk_ids is None else (result.local_topk_ids,)
    return (*result[:4], moe_buf, *local)


def _build_optional_arguments(call: Call) -> dict[str, Any]:
    return {
        "local_expert_mask": call.get("expert_mask"),
        "num_local_tokens": call.get("num_local_tokens"),
        "dispatch_policy": call.get("dispatch_policy"),
    }
