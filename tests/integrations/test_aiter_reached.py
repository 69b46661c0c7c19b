"""What a steered call came to is counted by the kernel that AITER really ran."""

import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from moesort_tune.audit.reasons import FAILED, NO_KERNEL, OTHER_KERNEL, REPLACED, UNSEEN_POLICY
from moesort_tune.integrations import aiter as integration
from moesort_tune.integrations import caller_policies
from moesort_tune.providers.work import aiter_package
from moesort_tune.providers.work.aiter_package import AiterPackage
from moesort_tune.runtime.lookup import Reason
from tests.integrations.conftest import MakeTable, StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

ROW = examples.row(128, 4, switch=21)
SMALL_SORT = "sglang.kernels.ops.moe.moe_sorting_small"
SGLANG_VARIABLE = "SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY"
VLLM_VARIABLE = "VLLM_ROCM_AITER_MOE_DISPATCH_POLICY"
Sort = Callable[..., Any]


@pytest.fixture(params=["aiter", "builtin"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """Return the name of the kernels that sort."""
    return request.param


@pytest.fixture
def sort(stand_in: StandIn, make_table: MakeTable, torch_device: torch.device, kernels: Any) -> Sort:
    """Call the steered fused_moe with 30 tokens, 128 experts, topk 4, for which the table names multiphase."""
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    integration.install(make_table(ROW, provider=kernels), kernels=kernels)

    def call(policy: int = 0) -> Any:
        module = stand_in.fused_moe
        tensors = arguments["topk_ids"], arguments["topk_weights"]
        return module.fused_moe(*tensors, 128, moe_sorting_dispatch_policy=policy)

    return call


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make this a process of a framework, whose variables nobody has set."""
    for variable in (SGLANG_VARIABLE, VLLM_VARIABLE, "MOESORT_TUNE_OVERRIDE_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    caller_policies.may_override.cache_clear()
    yield lambda name: monkeypatch.setitem(sys.modules, name, ModuleType(name))
    caller_policies.may_override.cache_clear()


def replace_sort(module: Any, sort: Callable[..., Any]) -> None:
    """Put another sort below moe_sorting as SGLang does on gfx950: with the original's name and module."""
    original = module._moe_sorting_impl
    code = "def wrapper(*args, **kwargs):\n    return sort(original, *args, **kwargs)"
    scope: dict[str, Any] = {"__name__": SMALL_SORT, "sort": sort, "original": original}
    exec(code, scope)  # the globals of its code tell whose it is
    wrapper = scope["wrapper"]
    wrapper.__module__, wrapper.__name__ = original.__module__, original.__name__
    module._moe_sorting_impl = wrapper


def sort_by_itself(original: Callable[..., Any], topk_ids: torch.Tensor, *_: Any, **__: Any) -> Any:
    """Sort without AITER's kernels."""
    del original
    return (topk_ids,) * 5


def pass_on(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Leave the call to AITER's kernels, as SGLang does past 256 pairs."""
    return original(*args, **kwargs)


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_sort_of_the_framework_is_not_counted_as_the_tables(
    stand_in: StandIn, sort: Sort, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects whoever reads the counts on gfx950 under SGLang: a row was asked, and another sort ran."""
    assert stand_in.fused_moe
    replace_sort(stand_in.fused_moe, sort_by_itself)
    sort()
    sort()
    assert integration.counts() == {REPLACED: 2}
    assert stand_in.runs == []
    assert sum(SMALL_SORT in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_call_that_a_replacement_passes_on_is_the_tables(stand_in: StandIn, sort: Sort) -> None:
    """Protects the large calls of the same process, which do reach the kernel that the table names."""
    assert stand_in.fused_moe
    replace_sort(stand_in.fused_moe, pass_on)
    sort()
    assert integration.counts() == {"exact row": 1}
    assert [run.policy for run in stand_in.runs] == [2]


@pytest.mark.parametrize("kernels", ["builtin"], indirect=True)
def test_builtin_kernels_do_not_take_the_place_of_a_frameworks_sort(stand_in: StandIn, sort: Sort) -> None:
    """Protects SGLang's sort, which also quantises: only SGLang knows when it may be left out."""
    assert stand_in.fused_moe
    replace_sort(stand_in.fused_moe, sort_by_itself)
    assert len(sort()) == 5
    assert integration.counts() == {"left alone: AITER's sort is replaced by the framework's": 1}


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
@pytest.mark.parametrize(
    ("ran", "reason"),
    [
        ((), NO_KERNEL),
        ((1,), OTHER_KERNEL),
        ((1, 2), OTHER_KERNEL),
        ((2, "?"), UNSEEN_POLICY),
        ((2, np.int64(2)), "exact row"),
    ],
)
def test_kernel_that_ran_decides_the_count(
    stand_in: StandIn, sort: Sort, monkeypatch: pytest.MonkeyPatch, ran: tuple[Any, ...], reason: str
) -> None:
    """Protects against an AITER that ignores the policy, or sorts in a way that this version does not know."""

    def moe_sorting_impl(topk_ids: torch.Tensor, *_: Any, **__: Any) -> Any:
        for policy in ran:
            sys.modules["aiter"].moe_sorting_opus_fwd(dispatch_policy=policy)
        return (topk_ids,) * 5

    def moe_sorting_opus_fwd(dispatch_policy: Any = 0) -> None:
        """Do nothing."""

    module = stand_in.fused_moe
    monkeypatch.setattr("moesort_tune.integrations.aiter_steering.find_replacement", lambda _: None)
    monkeypatch.setattr(module, "_moe_sorting_impl", moe_sorting_impl)
    monkeypatch.setattr("aiter.moe_sorting_opus_fwd", moe_sorting_opus_fwd)
    sort()
    assert integration.counts() == {reason: 1}


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_error_of_aiter_is_counted_as_no_decision(stand_in: StandIn, sort: Sort) -> None:
    """Protects the share that `audit` computes from calls that never sorted."""
    assert stand_in.fused_moe

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    replace_sort(stand_in.fused_moe, fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        sort()
    assert integration.counts() == {FAILED: 1}


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_uninstall_puts_the_kernels_function_back(stand_in: StandIn, sort: Sort) -> None:
    """Protects AITER after `uninstall`: nothing of this package is left in it."""
    before = stand_in.opus.moe_sorting_opus_fwd
    sort()
    assert sys.modules["aiter"].moe_sorting_opus_fwd is not before
    integration.uninstall()
    assert sys.modules["aiter"].moe_sorting_opus_fwd is before


def test_sglangs_default_policy_is_said_once_with_the_variable_to_set(
    sort: Sort, kernels: str, framework: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Protects users of SGLang, who have not chosen policy 2 and think that their table decides."""
    framework("sglang")
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        sort(2)
        sort(2)
    left = "" if kernels == "builtin" else "left alone: "
    assert integration.counts() == {f"{left}SGLang's default policy": 2}
    (record,) = [record for record in caplog.records if "does not decide" in record.message]
    assert f"set {SGLANG_VARIABLE}=0" in record.message
    assert "MOESORT_TUNE_OVERRIDE_POLICY=1" in record.message


def test_sglangs_default_policy_is_overridden_on_request(
    stand_in: StandIn, sort: Sort, kernels: str, framework: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects deployments that cannot change SGLang's environment variable but ours."""
    framework("sglang")
    monkeypatch.setenv("MOESORT_TUNE_OVERRIDE_POLICY", "1")
    sort(2)
    assert integration.counts() == {"exact row": 1}
    assert [run.policy for run in stand_in.runs] == ([2] if kernels == "aiter" else [])


@pytest.mark.parametrize("kernels", ["aiter"], indirect=True)
def test_override_keeps_the_frameworks_policy_where_no_row_decides(
    *,
    stand_in: StandIn,
    sort: Sort,
    make_table: MakeTable,
    framework: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects an AITER for which nobody swept: the framework's policy stands, not a rule that it did not ask for."""
    framework("sglang")
    monkeypatch.setenv("MOESORT_TUNE_OVERRIDE_POLICY", "1")
    integration.install(make_table(ROW, revision="another"))
    sort(2)
    assert integration.counts() == {Reason.PROVIDER.value: 1}
    assert [run.policy for run in stand_in.runs] == [2]


@pytest.mark.parametrize(("value", "warns"), [("0", False), ("yes", True)])
def test_override_is_only_switched_on_by_1(
    *,
    framework: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    warns: bool,
) -> None:
    """Protects whoever writes another word: it changes nothing, and the log says so."""
    del framework
    monkeypatch.setenv("MOESORT_TUNE_OVERRIDE_POLICY", value)
    assert not caller_policies.may_override()
    assert not caller_policies.may_override()
    assert caplog.text.count("which says nothing: set it to 1 or 0") == int(warns)


@pytest.mark.parametrize(("name", "variable", "policy"), [("sglang", SGLANG_VARIABLE, 2), ("vllm", VLLM_VARIABLE, 1)])
def test_policy_that_somebody_chose_is_never_overridden(
    *,
    stand_in: StandIn,
    sort: Sort,
    kernels: str,
    framework: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    variable: str,
    policy: int,
) -> None:
    """Protects a user's choice, also where it is the default; the log says by which variable it was made."""
    framework(name)
    monkeypatch.setenv(variable, str(policy))
    monkeypatch.setenv("MOESORT_TUNE_OVERRIDE_POLICY", "1")
    sort(policy)
    left = "" if kernels == "builtin" else "left alone: "
    assert integration.counts() == {f"{left}the caller's own policy": 1}
    assert [run.policy for run in stand_in.runs] == ([policy] if kernels == "aiter" else [])
    assert f"{variable} is set: set it to 0" in caplog.text


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "lacks", ["moe_sorting_opus_get_workspace_size", "the argument workspace of moe_sorting_opus_fwd"]
)
def test_aiter_before_v0_1_14_is_refused(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    """Protects users of an AITER that sorts by CK: rows of other kernels must not steer it."""
    table = make_table(ROW)
    monkeypatch.setattr(aiter_package, "find", lambda: AiterPackage("0.1.13", {}, lacks))
    with pytest.raises(
        integration.AiterTooOldError, match=rf"AITER 0\.1\.13 cannot be steered: it lacks {lacks}, .*14 on"
    ):
        integration.install(table)
    integration.install(kernels="builtin")  # needs none of its kernels


@pytest.mark.parametrize("kernels", ["builtin"], indirect=True)
def test_output_that_is_not_written_does_not_matter(
    stand_in: StandIn, sort: Sort, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects newer AITER's calls that sum later: they bring `output`, and get a [0, 0] buffer all the same."""
    del sort
    monkeypatch.setenv("AITER_STAND_IN", "newer")
    for name in stand_in.modules():
        del sys.modules[name]
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    output = torch.ones(30, 8, dtype=torch.bfloat16, device=torch_device)
    tensors = arguments["topk_ids"], arguments["topk_weights"]
    result = stand_in.fused_moe.moe_sorting(*tensors, 128, 8, torch.bfloat16, accumulate=False, output=output)
    assert result[4].shape == (0, 0)
    assert output.eq(1).all()
    assert integration.counts() == {"exact row": 1}
