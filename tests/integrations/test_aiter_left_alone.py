"""What goes wrong in this package before AITER's call is AITER's call: counted, logged once, and nothing else."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from moesort_tune.audit.reasons import FAILED, UNEXPECTED
from moesort_tune.audit.tally import Tally
from moesort_tune.integrations import aiter as integration
from moesort_tune.integrations import aiter_steering
from moesort_tune.integrations.aiter_steering import Steering
from moesort_tune.runtime import Dispatcher
from tests.integrations.conftest import MakeTable, StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

KERNELS = ("aiter", "builtin")
Sort = Callable[..., Any]


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> Any:
    """Return the name of the kernels that sort."""
    return request.param


@pytest.fixture
def sort(stand_in: StandIn, make_table: MakeTable, torch_device: torch.device, kernels: Any) -> Sort:
    """Call the steered moe_sorting with 30 tokens, 128 experts, topk 4, and arguments of the test's own."""
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    integration.install(make_table(examples.row(128, 4, switch=21), provider=kernels), kernels=kernels)

    def call(**changes: Any) -> Any:
        given = {
            "topk_ids": arguments["topk_ids"],
            "topk_weights": arguments["topk_weights"],
            "num_experts": 128,
            "model_dim": 8,
            "moebuf_dtype": torch.bfloat16,
        }
        return stand_in.fused_moe.moe_sorting(**(given | changes))

    return call


def make_broken(error: BaseException) -> Callable[..., Any]:
    """Return a function that raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [ValueError("of ours"), AssertionError(), RecursionError(), PermissionError(13, "no")]
)
@pytest.mark.parametrize("place", ["policy", "_check_backend", "decide"])
def test_any_error_of_ours_leaves_the_call_to_aiter(
    *,
    stand_in: StandIn,
    sort: Sort,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    error: Exception,
) -> None:
    """Protects a forward pass from this package: AITER decides, the count says so, and the log says why, once."""
    for owner in (Dispatcher, aiter_steering, *Steering.__subclasses__()):
        if hasattr(owner, place):
            monkeypatch.setattr(owner, place, make_broken(error))
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        assert [len(sort()) for _ in range(3)] == [5, 5, 5]
    assert [run.policy for run in stand_in.runs] == [0, 0, 0]
    assert integration.counts() == {UNEXPECTED: 3}
    (record,) = [record for record in caplog.records if "please report it" in record.message]
    assert type(error).__name__ in record.message
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_call_that_cannot_be_counted_is_sorted_all_the_same(
    stand_in: StandIn, sort: Sort, kernels: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects a forward pass from its own statistics, which fail after the sort has been enqueued."""
    monkeypatch.setattr(Tally, "add", make_broken(RuntimeError("dictionary changed size during iteration")))
    assert len(sort()) == 5
    assert [run.policy for run in stand_in.runs] == ([2] if kernels == "aiter" else [])
    assert "a call was not counted because moesort-tune failed with RuntimeError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes(
    stand_in: StandIn, sort: Sort, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Protects ctrl-C and the end of a process: they are nobody's error, and AITER is not called."""
    monkeypatch.setattr(Dispatcher, "policy", make_broken(error()))
    with pytest.raises(error):
        sort()
    assert stand_in.runs == []


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_aiters_own_error_is_neither_swallowed_nor_repeated(
    stand_in: StandIn, sort: Sort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects AITER's error handling: one call, its own error, with nothing of ours as its context."""
    calls: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        raise ValueError("of AITER")

    monkeypatch.setattr(stand_in.opus, "moe_sorting_opus_fwd", fail)
    monkeypatch.setattr("aiter.moe_sorting_opus_fwd", fail)
    with pytest.raises(ValueError, match="of AITER") as caught:
        sort()
    assert len(calls) == 1
    assert caught.value.__context__ is None
    assert integration.counts() == {FAILED: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"topk_ids": torch.zeros(2, 0, dtype=torch.int32), "topk_weights": torch.zeros(2, 0)},
        {"topk_ids": torch.zeros(4, dtype=torch.int32)},
        {"topk_ids": torch.zeros(2, 4, 1, dtype=torch.int32)},
        {"topk_ids": None},
        {"topk_ids": [[0, 1]]},
        {"topk_ids": np.zeros((2, 4), np.int32)},
        {"num_experts": None},
        {"num_experts": "128"},
        {"num_experts": 128.0},
        {"num_experts": [128]},
        {"num_experts": {}},
        {"num_experts": -1},
        {"num_experts": 2},
        {"dispatch_policy": None},
        {"dispatch_policy": []},
        {"dispatch_policy": "0"},
        {"expert_mask": 5},
        {"block_size": None},
        {"block_size": 0},
        {"topk_weights": None},
        {"topk_weights": torch.zeros(1, 1)},
        {"moebuf_dtype": None},
        {"no_such_argument": 1},
    ],
)
def test_wrong_calls_end_as_they_do_without_this_package(
    stand_in: StandIn, sort: Sort, changes: dict[str, Any]
) -> None:
    """Protects whoever debugs a wrong call: AITER's own result or error, with the very arguments of the caller."""
    seen: list[dict[str, Any]] = []

    def record(**kwargs: Any) -> Any:
        seen.append(kwargs)
        raise LookupError("of AITER")

    assert callable(stand_in.fused_moe.moe_sorting)
    integration._installation.steering.original = record  # type: ignore[union-attr]
    with pytest.raises(LookupError, match="of AITER"):
        sort(**changes)
    (kwargs,) = seen
    assert all(kwargs[name] is value for name, value in changes.items())


@pytest.mark.parametrize("number", [np.int32, np.int64])
def test_integers_of_numpy_are_steered(stand_in: StandIn, sort: Sort, kernels: str, number: Any) -> None:
    """Protects callers whose sizes come from arrays: they decide like Python's."""
    sort(num_experts=number(128), dispatch_policy=number(0))
    assert [run.policy for run in stand_in.runs] == ([2] if kernels == "aiter" else [])
    assert integration.counts() == {"exact row": 1}


@pytest.mark.parametrize("generation", ["e4048607", "newer"])
@pytest.mark.parametrize("options", [{}, {"accumulate": False}, {"need_local_topk_ids": True}])
def test_both_generations_are_steered(
    *, stand_in: StandIn, sort: Sort, kernels: str, torch_device: torch.device, options: dict[str, Any]
) -> None:
    """Protects newer versions of AITER: an argument that is passed at its default says nothing new."""
    del sort
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 128, **options)
    assert [run.policy for run in stand_in.runs] == ([2] if kernels == "aiter" else [])
    assert integration.counts() == {"exact row": 1}


@pytest.mark.parametrize("generation", ["e4048607", "newer"])
def test_flydsl_is_left_alone_in_both_generations(
    stand_in: StandIn, sort: Sort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects users of AITER_USE_FLYDSL_MOE_SORTING=1: the newer AITER no longer asks whether FlyDSL is there."""
    monkeypatch.setattr(stand_in.fused_moe, "_USE_FLYDSL_MOE_SORTING", True)
    sort()
    assert stand_in.fused_moe.others == ["FlyDSL"]
    assert integration.counts() == {"left alone: FlyDSL": 1}


@pytest.mark.parametrize("generation", ["newer"])
@pytest.mark.parametrize("kernels", ["builtin"], indirect=True)
def test_output_of_the_caller_is_left_to_aiter(stand_in: StandIn, sort: Sort, torch_device: torch.device) -> None:
    """Protects a caller who brings the buffer: AITER zeroes it and returns it as moe_buf."""
    output = torch.ones(30, 8, dtype=torch.bfloat16, device=torch_device)
    assert sort(output=output)[4] is output
    assert len(stand_in.runs) == 1
    assert integration.counts() == {"left alone: the caller's output buffer": 1}


@pytest.mark.parametrize(("value", "is_left"), [("row", False), ("".join(["r", "ow"]), False), ("map", True)])
@pytest.mark.parametrize("kernels", ["builtin"], indirect=True)
def test_argument_at_its_default_is_known_by_value(
    *,
    stand_in: StandIn,
    sort: Sort,
    torch_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    is_left: bool,
) -> None:
    """Protects defaults that are text or numbers, which callers pass as equal ones and not as the same object."""
    del sort
    integration.uninstall()
    seen: list[str] = []

    def moe_sorting(*_: Any, **kwargs: Any) -> None:
        seen.append(kwargs["scatter"])

    known = inspect.signature(stand_in.fused_moe.moe_sorting).parameters.values()
    scatter = inspect.Parameter("scatter", inspect.Parameter.KEYWORD_ONLY, default="row")
    moe_sorting.__signature__ = inspect.Signature([*known, scatter])  # type: ignore[attr-defined]
    monkeypatch.setattr(stand_in.fused_moe, "moe_sorting", moe_sorting)
    integration.install(kernels="builtin")
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    args = (arguments["topk_ids"], arguments["topk_weights"], 128, 8, torch.bfloat16)
    stand_in.fused_moe.moe_sorting(*args, scatter=value)
    assert seen == ([value] if is_left else [])
