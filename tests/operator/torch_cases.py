"""The kernels' cases as tensors, and the operator's outputs as what the exact comparison takes."""

from typing import Any

import torch

from moesort_tune.domain.vocabulary import AUTOMATIC
from moesort_tune.operator.policies import KERNELS
from moesort_tune.operator.torch_operator import SortedTokens, moe_sorting
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.reference import SortedOutputs
from tests.sorting import cases
from tests.sorting.cases import Case


def fit(case: Case, policy: int, kernels: SortingKernels) -> Case:
    """Return the case with as many of its leading rows as the kernel of a dispatch_policy takes."""
    return case if policy == AUTOMATIC else cases.fit(case, KERNELS[policy], kernels.limits)


def make_arguments(case: Case, device: torch.device) -> dict[str, Any]:
    """Return the keyword arguments of moe_sorting for a case, without the optional outputs."""
    inputs = case.inputs
    mask, tokens = inputs.local_expert_mask, inputs.num_local_tokens
    return {
        "topk_ids": torch.from_numpy(inputs.topk_ids).to(device),
        "topk_weights": torch.from_numpy(inputs.topk_weights).to(device),
        "num_experts": case.problem.num_experts,
        "unit_size": case.problem.unit_size,
        "local_expert_mask": None if mask is None else torch.from_numpy(mask).to(device),
        "num_local_tokens": None if tokens is None else torch.tensor([tokens], dtype=torch.int32, device=device),
    }


def sort_and_check(case: Case, device: torch.device, **options: Any) -> SortedTokens:
    """Sort by the operator and compare everything that is defined."""
    result = moe_sorting(**make_arguments(case, device), **options)
    check(result, case)
    return result


def check(result: SortedTokens, case: Case) -> None:
    """Compare what is defined of `result` with the reference; raise WrongOutputError."""
    check_outputs(_select_defined(result, case), case.expected, kernel="moe_sorting", shape=str(case.problem))
    assert result.moe_buf is None or not result.moe_buf.any()


def _select_defined(result: SortedTokens, case: Case) -> SortedOutputs:
    rows = int(result.num_valid_ids[0])
    return SortedOutputs(
        sorted_token_ids=result.sorted_token_ids[:rows].cpu().numpy(),
        sorted_weights=result.sorted_weights[:rows].cpu().numpy(),
        sorted_expert_ids=result.sorted_expert_ids[: rows // case.problem.unit_size].cpu().numpy(),
        num_valid_ids=result.num_valid_ids.cpu().numpy(),
        m_indices=None if result.m_indices is None else result.m_indices[:rows].cpu().numpy(),
        reverse_sorted=None if result.reverse_sorted is None else result.reverse_sorted.cpu().numpy(),
        local_topk_ids=None if result.local_topk_ids is None else result.local_topk_ids.reshape(-1).cpu().numpy(),
    )
