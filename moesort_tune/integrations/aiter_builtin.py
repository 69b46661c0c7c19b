"""The builtin kernels in place of AITER's: the same arguments, and results of the same number and shapes."""

import functools
import sys
from typing import TYPE_CHECKING, Any

from moesort_tune import runtime
from moesort_tune.audit.reasons import FRAMEWORK_SORT
from moesort_tune.integrations.aiter_call import Call
from moesort_tune.integrations.aiter_kernel import MODULE, find_replacement
from moesort_tune.integrations.aiter_steering import (
    Decision,
    LeaveAlone,
    Outcome,
    Steering,
    convert_integer,
    get_asked_policy,
)

if TYPE_CHECKING:
    import torch


class BuiltinSteering(Steering):
    """Sort with this package's kernels, wherever they support every argument of the call."""

    no_dispatcher = "the builtin kernels cannot be loaded"
    consequence = "AITER sorts by itself"

    def decide(self, call: Call) -> Decision:
        """Sort by the operator, and return a function that returns AITER's tuple."""
        _check_support(call)
        policy = get_asked_policy(call)
        dispatcher = self.get_dispatcher(call.get("topk_ids").device)
        result = sort_like_aiter(call, self.table, policy.policy)
        if policy.reason:
            return Decision(lambda: result, Outcome(policy.reason, functools.partial(str, policy.why)))
        tokens, topk = call.get("topk_ids").shape
        asked = (tokens, convert_integer(call.get("num_experts")) or 0, topk, *call.condition)
        outcome = Outcome(dispatcher.reason(*asked).value, lambda: str(dispatcher.explain(*asked)))
        return Decision(lambda: result, outcome)

    def open_dispatcher(self, device: "torch.device") -> runtime.Dispatcher:
        """Load the kernels, and open the table for them. Raise LeaveAlone, to try again, while that is impossible."""
        from moesort_tune.operator.sorting_device import get_sorting_device
        from moesort_tune.operator.torch_device import NotReadyError

        try:
            return get_sorting_device(device).get_dispatcher(self.table)
        except NotReadyError as error:
            raise LeaveAlone("the builtin kernels were not loaded before capture", str(error)) from error


def _check_support(call: Call) -> None:
    """Raise LeaveAlone for what only AITER, or who replaced its sort, knows how to do."""
    unknown = call.list_unknown()
    if unknown:
        raise LeaveAlone(f"unknown argument {unknown[0]}")
    if call.get("output") is not None and call.condition.moe_buf:
        raise LeaveAlone("the caller's output buffer", "AITER zeroes and returns the tensor that the caller brings")
    replacement = find_replacement(sys.modules.get(MODULE))
    if replacement is not None:
        why = f"{replacement} has put another sort in place of AITER's, which may do more than sort"
        raise LeaveAlone(FRAMEWORK_SORT, why)


def sort_like_aiter(call: Call, table: str | None, dispatch_policy: Any) -> tuple["torch.Tensor", ...]:
    """Return what AITER's moe_sorting returns, for a call that is neither flat nor output_aux.

    These are sorted_ids, sorted_weights, sorted_expert_ids, num_valid_ids, moe_buf, and where the call asks for it
    local_topk_ids. moe_buf is [rows, model_dim] of zeros if it is accumulated into or experts are masked, else
    [0, 0]. Raise LeaveAlone before anything is launched.
    """
    import torch

    from moesort_tune.operator.arguments import ArgumentError
    from moesort_tune.operator.torch_operator import moe_sorting
    from moesort_tune.sorting.launches import KernelTooLargeError
    from moesort_tune.sorting.problem import ProblemError

    ids, dtype = call.get("topk_ids"), call.get("moebuf_dtype")
    try:
        result = moe_sorting(
            ids,
            call.get("topk_weights"),
            call.get("num_experts"),
            call.get("block_size"),
            model_dim=call.get("model_dim") if call.condition.moe_buf else None,
            moe_buf_dtype=dtype,
            local_expert_mask=call.get("expert_mask"),
            num_local_tokens=call.get("num_local_tokens"),
            dispatch_policy=dispatch_policy,
            return_local_topk_ids=bool(call.get("return_local_topk_ids")),
            table=table,
        )
    except (ArgumentError, ProblemError, KernelTooLargeError) as error:
        raise LeaveAlone("not supported by the builtin kernels", str(error)) from error
    moe_buf = torch.empty((0, 0), dtype=dtype, device=ids.device) if result.moe_buf is None else result.moe_buf
    local = () if result.local_topk_ids is None else (result.local_topk_ids,)
    return (*result[:4], moe_buf, *local)
