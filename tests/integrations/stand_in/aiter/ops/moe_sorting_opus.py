"""AITER's two sorting paths: `runs` tells a test which of them ran."""

import atexit
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from moesort_tune.device import torch_streams
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.operator.arguments import Request
from moesort_tune.operator.planned_sort import PlannedSort, SortedTokens
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.providers.facts.aiter_rule import compute_aiter_oneshot_max_tokens


class Run(NamedTuple):
    """One sort: its arguments and the kernel that ran."""

    policy: int
    kernel: KernelName
    tokens: int
    num_experts: int
    topk: int


runs: list[Run] = []


def moe_sorting_opus_get_workspace_size(tokens: int, num_experts: int, topk: int, dispatch_policy: int = 0) -> int:
    """Return the bytes of workspace; 0 where oneshot will run."""
    num_experts = int(num_experts)
    if _choose_kernel(tokens, num_experts, dispatch_policy) == "oneshot":
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return get_sorting_device(device).get_plan(tokens, topk, num_experts).workspace_bytes


SCHEMA = (
    "moe_sorting_opus_fwd(Tensor topk_ids, Tensor topk_weights, Tensor sorted_token_ids, Tensor sorted_weights, "
    "Tensor sorted_expert_ids, Tensor num_valid_ids, Tensor moe_buf, int num_experts, int unit_size, "
    "Tensor? local_expert_mask=None, Tensor? num_local_tokens=None, Tensor? workspace=None, int dispatch_policy=0, "
    "Tensor? local_topk_ids=None, Tensor? m_indices=None, Tensor? reverse_sorted=None) -> ()"
)


def _register_operator() -> None:
    """Register the schema once in a process, in which tests import this module anew."""
    if not hasattr(torch.ops.aiter, "moe_sorting_opus_fwd"):
        library = torch.library.Library("aiter", "FRAGMENT")
        library.define(SCHEMA)
        atexit.register(id, library)  # keeps it, where the module is forgotten


_register_operator()


def compile_ops(function: Callable[..., None]) -> Callable[..., None]:
    """Hide the arguments' names as AITER's decorator does: only source and the operator's schema tell them."""

    def wrapper_custom(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return wrapper_custom


@compile_ops
def moe_sorting_opus_fwd(  # noqa: PLR0917 - AITER's signature
    topk_ids: torch.Tensor,
    topk_weights: torch.Tensor,
    sorted_token_ids: torch.Tensor,
    sorted_weights: torch.Tensor,
    sorted_expert_ids: torch.Tensor,
    num_valid_ids: torch.Tensor,
    moe_buf: torch.Tensor,
    num_experts: int,
    unit_size: int,
    local_expert_mask: torch.Tensor | None = None,
    num_local_tokens: torch.Tensor | None = None,
    workspace: torch.Tensor | None = None,
    dispatch_policy: int = 0,
    local_topk_ids: torch.Tensor | None = None,
    m_indices: torch.Tensor | None = None,
    reverse_sorted: torch.Tensor | None = None,
) -> None:
    """Sort into tensors of the caller's; allocate nothing that multiphase needs."""
    rows, topk = topk_ids.shape
    num_experts = int(num_experts)  # a binding makes numpy's integers plain ones
    kernel = _choose_kernel(rows, num_experts, dispatch_policy)
    runs.append(Run(dispatch_policy, kernel, rows, num_experts, topk))
    planned = get_sorting_device(topk_ids.device).get_plan(
        rows, topk, num_experts, unit_size=unit_size, moe_buf_row_bytes=moe_buf.nbytes // rows if rows else 0
    )
    request = Request(
        topk_ids, topk_weights, num_experts, local_expert_mask=local_expert_mask, num_local_tokens=num_local_tokens
    )
    outputs = SortedTokens(
        *(sorted_token_ids, sorted_weights, sorted_expert_ids, num_valid_ids),
        *(moe_buf, local_topk_ids, m_indices, reverse_sorted),
    )
    kernel, workspace = _avoid_impossible(planned, kernel, workspace, topk_ids.device)
    stream = torch_streams.get_current(topk_ids.device)
    planned.launch(kernel, stream, request=request, outputs=outputs, workspace=workspace)


def _choose_kernel(tokens: int, num_experts: int, dispatch_policy: int) -> KernelName:
    if dispatch_policy == 0:
        return "oneshot" if tokens <= compute_aiter_oneshot_max_tokens(num_experts) else "multiphase"
    return "oneshot" if dispatch_policy == 1 else "multiphase"


def _avoid_impossible(
    planned: PlannedSort, kernel: KernelName, workspace: torch.Tensor | None, device: torch.device
) -> tuple[KernelName, torch.Tensor | None]:
    """Replace oneshot by multiphase past our LDS limit, where AITER's oneshot loops."""
    if kernel == "multiphase":
        assert workspace is not None, "multiphase without a workspace"
        assert workspace.nbytes >= planned.workspace_bytes, "workspace too small"
        return kernel, workspace
    if planned.problem.rows <= planned.limits["oneshot"]:
        return kernel, None
    return "multiphase", torch.empty(planned.workspace_bytes, dtype=torch.uint8, device=device)
