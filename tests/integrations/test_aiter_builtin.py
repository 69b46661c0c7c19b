"""The builtin kernels in the place of AITER's: the same results of the same calls, and AITER's own where not."""

import functools
from typing import Any

import pytest
import torch

from moesort_tune.integrations import aiter as integration
from moesort_tune.operator.torch_operator import SortedTokens
from moesort_tune.sorting.inputs import make_mask
from tests.integrations.conftest import MakeTable, StandIn
from tests.operator.operator_tables import Launches
from tests.operator.torch_cases import check, make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

CASE = cases.make_bad_ids(cases.make_uniform(30, 4, 64))


@pytest.fixture
def launches(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Launches:
    """Return the recorded launches."""
    del stand_in
    return Launches(monkeypatch)


def sort(stand_in: StandIn, device: torch.device, case: cases.Case = CASE, **options: Any) -> tuple[torch.Tensor, ...]:
    """Call moe_sorting in AITER's form, with a moe_buf of 24 columns."""
    arguments = make_arguments(case, device)
    given = {
        "expert_mask": arguments["local_expert_mask"],
        "num_local_tokens": arguments["num_local_tokens"],
        "block_size": case.problem.unit_size,
    }
    result: tuple[torch.Tensor, ...] = stand_in.fused_moe.moe_sorting(
        arguments["topk_ids"], arguments["topk_weights"], 64, 24, torch.float16, **(given | options)
    )
    return result


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (CASE, {}),
        (CASE, {"accumulate": False}),
        (CASE, {"dispatch_policy": 1}),
        (CASE, {"dispatch_policy": 2, "return_local_topk_ids": True}),
        (cases.set_mask(CASE), {"accumulate": False, "return_local_topk_ids": True}),
        (cases.set_tokens(CASE, 17), {"block_size": 64}),
    ],
)
def test_builtin_sort_returns_what_aiter_returns(
    stand_in: StandIn, torch_device: torch.device, case: cases.Case, options: dict[str, Any]
) -> None:
    """Protects AITER's grouped GEMMs, which take these tensors: number, shapes, dtypes and every defined element."""
    theirs = sort(stand_in, torch_device, case, **options)
    runs = len(stand_in.runs)
    integration.install(kernels="builtin")
    ours = sort(stand_in, torch_device, case, **options)
    assert len(stand_in.runs) == runs
    assert [(t.shape, t.dtype, t.device) for t in ours] == [(t.shape, t.dtype, t.device) for t in theirs]
    if options.get("block_size") is None:
        check(_name_outputs(ours), case)
    assert torch.equal(ours[3], theirs[3])


def _name_outputs(result: tuple[torch.Tensor, ...]) -> SortedTokens:
    return SortedTokens(*result)  # a sixth is local_topk_ids in both


def test_builtin_rows_decide(
    stand_in: StandIn, torch_device: torch.device, make_table: MakeTable, launches: Launches
) -> None:
    """Protects the choice: our kernels go by rows that were measured with them, and the counts say so."""
    integration.install(make_table(examples.row(64, 4, switch=2), provider="builtin"), kernels="builtin")
    sort(stand_in, torch_device)
    assert launches.kernels == ["multiphase"]
    assert integration.counts() == {"exact row": 1}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"flat": True}, "flat"),
        ({"output_aux": True}, "output_aux"),
    ],
)
def test_calls_of_other_sorts_are_left_to_aiter(
    stand_in: StandIn, torch_device: torch.device, options: dict[str, Any], reason: str
) -> None:
    """Protects calls whose results have other shapes."""
    integration.install(kernels="builtin")
    sort(stand_in, torch_device, **options)
    assert integration.counts() == {f"left alone: {reason}": 1}


def test_unsupported_tensors_are_left_to_aiter(stand_in: StandIn, torch_device: torch.device) -> None:
    """Protects callers with tensors that AITER takes and our kernels do not, such as flat weights."""
    integration.install(kernels="builtin")
    case = cases.make_uniform(30, 1, 64)
    arguments = make_arguments(case, torch_device)
    result = stand_in.fused_moe.moe_sorting(
        arguments["topk_ids"], arguments["topk_weights"].reshape(-1), 64, 24, torch.float16
    )
    assert len(stand_in.runs) == 1
    check(_name_outputs(result), case)
    assert integration.counts() == {"left alone: not supported by the builtin kernels": 1}


@pytest.mark.parametrize(
    "options", [{"accumulate": False, "dtype": None}, {"dtype": "bfloat16"}, {"block_size": "32"}, {"expert_mask": [1]}]
)
def test_arguments_of_other_types_are_left_to_aiter(
    stand_in: StandIn, torch_device: torch.device, options: dict[str, Any]
) -> None:
    """Protects callers that AITER serves: what the builtin kernels do not take is AITER's, counted, and no error."""
    arguments = make_arguments(CASE, torch_device)
    options = dict(options)
    args = (arguments["topk_ids"], arguments["topk_weights"], 64, 24, options.pop("dtype", torch.float16))
    seen: list[tuple[Any, ...]] = []
    stand_in.fused_moe.moe_sorting = record_calls(stand_in.fused_moe.moe_sorting, seen)
    integration.install(kernels="builtin")
    stand_in.fused_moe.moe_sorting(*args, **options)
    assert seen == [args]
    assert integration.counts() == {"left alone: not supported by the builtin kernels": 1}


def record_calls(function: Any, seen: list[tuple[Any, ...]]) -> Any:
    """Return a function of the same signature that does nothing but note its positional arguments."""

    @functools.wraps(function)
    def moe_sorting(*args: Any, **_: Any) -> None:
        seen.append(args)

    return moe_sorting


def test_callers_own_policy_is_counted(stand_in: StandIn, torch_device: torch.device, launches: Launches) -> None:
    """Protects the counts: they add up to the calls, those that bring their own policy included."""
    integration.install(kernels="builtin")
    for policy in (1, 2, 3):
        sort(stand_in, torch_device, dispatch_policy=policy)
    assert launches.kernels == ["oneshot", "multiphase", "wave"]
    assert integration.counts() == {"the caller's own policy": 3}


def test_unknown_arguments_are_left_to_aiter(
    stand_in: StandIn, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects newer versions of AITER: what an argument means that we do not know, only AITER can do."""
    seen: list[object] = []

    def moe_sorting(topk_ids: Any, num_experts: int, dispatch_policy: int = 0, scatter: str = "") -> None:
        seen.append((len(topk_ids), num_experts, dispatch_policy, scatter))

    moe_sorting.__module__ = "aiter.fused_moe"
    monkeypatch.setattr(stand_in.fused_moe, "moe_sorting", moe_sorting)
    integration.install(kernels="builtin")
    ids = make_arguments(CASE, torch_device)["topk_ids"]
    stand_in.fused_moe.moe_sorting(ids, 64, scatter="map")
    assert seen == [(30, 64, 0, "map")]
    assert integration.counts() == {"left alone: unknown argument scatter": 1}


def test_masked_calls_are_sorted_by_the_builtin_kernels(stand_in: StandIn, torch_device: torch.device) -> None:
    """Protects expert parallelism: our kernels drop ids of -1, whatever AITER's version does with them."""
    integration.install(kernels="builtin")
    arguments = make_arguments(CASE, torch_device)
    mask = torch.from_numpy(make_mask(64, rank=1, ranks=2)).to(torch_device)
    stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 64, expert_mask=mask)
    assert stand_in.runs == []
