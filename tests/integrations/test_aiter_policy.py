"""AITER's own kernels steered by a table, through AITER's own ways of calling them."""

import importlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune.audit.log_lines import read_log
from moesort_tune.integrations import aiter as integration
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.providers.work import aiter_package
from moesort_tune.sorting.inputs import make_mask
from moesort_tune.tables import store
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.schema import Evidence
from tests.integrations.conftest import MakeTable, StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

ROW = examples.row(128, 4, switch=21)


@pytest.fixture
def call(stand_in: StandIn, torch_device: torch.device) -> Callable[..., Any]:
    """Call fused_moe as serving does, with 128 experts and topk 4."""

    def fused_moe(tokens: int, **options: Any) -> Any:
        arguments = make_arguments(cases.make_uniform(tokens, 4, 128), torch_device)
        return stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 128, **options)

    return fused_moe


def test_table_sets_the_policy_of_each_call(stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]) -> None:
    """Protects the point of it all: one model's calls get another kernel where the table says so."""
    integration.install(make_table(ROW))
    for tokens in (1, 20, 21, 56, 57):
        call(tokens)
    assert [(run.tokens, run.policy) for run in stand_in.runs] == [(1, 1), (20, 1), (21, 2), (56, 2), (57, 2)]
    assert integration.counts() == {"exact row": 5}


def test_policy_reaches_the_workspace_too(stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]) -> None:
    """Protects multiphase from a null workspace: below AITER's own switch its workspace comes from our policy."""
    integration.install(make_table(ROW))
    call(30)  # the stand-in raises where multiphase has no workspace
    assert stand_in.runs[-1].kernel == "multiphase"


def test_both_references_are_steered_and_restored(
    stand_in: StandIn, make_table: MakeTable, torch_device: torch.device
) -> None:
    """Protects calls by the second reference, which was taken before the wrap, and AITER after `uninstall`."""
    original = stand_in.fused_moe.moe_sorting
    shared = stand_in.dp_shared_expert
    integration.install(make_table(examples.row(2, 2, switch=5)))
    shared.get_dp_shared_expert_stage2_moe_sorting_result(9, 2, torch_device, 32)
    assert stand_in.runs[-1].policy == 2
    integration.uninstall()
    assert stand_in.fused_moe.moe_sorting is original
    assert shared.moe_sorting is original
    shared.get_dp_shared_expert_stage2_moe_sorting_result(9, 2, torch_device, 32)
    assert stand_in.runs[-1].policy == 0


def test_aiter_is_wrapped_when_it_is_imported(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]
) -> None:
    """Protects processes that never sort: installing imports nothing of AITER, and whoever does gets the wrap."""
    integration.install(make_table(ROW))
    assert stand_in.modules() == {}
    call(30)
    assert stand_in.runs[-1].policy == 2
    assert stand_in.dp_shared_expert.moe_sorting is stand_in.fused_moe.moe_sorting


@pytest.mark.parametrize("policy", [1, 2])
def test_callers_own_policy_is_kept(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any], policy: int
) -> None:
    """Protects users of VLLM_ROCM_AITER_MOE_DISPATCH_POLICY: what they ask for comes before the table."""
    integration.install(make_table(examples.row(128, 4, switch=2 if policy == 1 else None)))
    call(30, moe_sorting_dispatch_policy=policy)
    assert stand_in.runs[-1].policy == policy
    assert integration.counts() == {"left alone: the caller's own policy": 1}


def test_flat_and_aux_calls_are_left_alone(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any], torch_device: torch.device
) -> None:
    """Protects kernels that sort by themselves or by another sort of AITER's: a policy means nothing or harm there."""
    integration.install(make_table(ROW))
    call(30, flat=True)
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    result = stand_in.fused_moe.fused_moe_with_aux(arguments["topk_ids"], arguments["topk_weights"], 128)
    assert len(result) == 7
    assert [run.policy for run in stand_in.runs] == [0]
    assert integration.counts() == {"left alone: flat": 1, "left alone: output_aux": 1}


@pytest.mark.parametrize(("switch", "reason"), [("_USE_FLYDSL_MOE_SORTING", "FlyDSL"), ("_USE_CK_MOE_SORTING", "CK")])
def test_other_backends_are_left_alone(
    *,
    stand_in: StandIn,
    make_table: MakeTable,
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    switch: str,
    reason: str,
) -> None:
    """Protects users of AITER's other sorts, which a policy would switch off; local ids are never sorted by them."""
    integration.install(make_table(ROW))
    monkeypatch.setattr(stand_in.fused_moe, switch, True)
    call(30)
    call(30, need_local_topk_ids=True)
    assert [run.policy for run in stand_in.runs] == [0, 2]
    assert integration.counts() == {"exact row": 1, f"left alone: {reason}": 1}


@pytest.mark.parametrize(("guarded", "policy"), [(False, 0), (True, 2)])
def test_masked_calls_are_steered_where_aiter_takes_negative_ids(
    *,
    stand_in: StandIn,
    make_table: MakeTable,
    call: Callable[..., Any],
    torch_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
    policy: int,
) -> None:
    """Protects expert parallelism on an AITER whose multiphase faults on the ids of -1 that come with it."""
    if guarded:
        monkeypatch.setattr(aiter_package.AiterPackage, "negative_ids_are_safe", True)
    integration.install(make_table(ROW))
    call(30, expert_mask=torch.from_numpy(make_mask(128, rank=0, ranks=2)).to(torch_device))
    assert stand_in.runs[-1].policy == policy
    assert any("negative ids" in reason for reason in integration.counts()) == (not guarded)


def test_unknown_arguments_are_passed_through(
    stand_in: StandIn, make_table: MakeTable, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects newer versions of AITER, whose moe_sorting has arguments before and after those that are known."""
    seen: list[dict[str, Any]] = []

    def moe_sorting(stage, topk_ids, num_experts, dispatch_policy=0, *, scatter=None):  # type: ignore[no-untyped-def]
        seen.append({"stage": stage, "scatter": scatter, "policy": dispatch_policy})
        return topk_ids, num_experts

    monkeypatch.setattr(stand_in.fused_moe, "moe_sorting", moe_sorting)
    moe_sorting.__module__ = "aiter.fused_moe"
    integration.install(make_table(ROW))
    ids = make_arguments(cases.make_uniform(30, 4, 128), torch_device)["topk_ids"]
    stand_in.fused_moe.moe_sorting(2, ids, 128, 0, scatter="map")
    stand_in.fused_moe.moe_sorting(2, num_experts=128, topk_ids=ids)
    assert seen == [{"stage": 2, "scatter": "map", "policy": 2}, {"stage": 2, "scatter": None, "policy": 2}]


def test_function_that_cannot_be_steered_is_left_as_it_is(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects a server on an AITER that has changed: it runs as before, and the log says why."""

    def moe_sorting(topk_ids: Any, num_experts: int) -> None:
        """Another AITER's."""

    monkeypatch.setattr(stand_in.fused_moe, "moe_sorting", moe_sorting)
    integration.install(make_table(ROW))
    assert stand_in.fused_moe.moe_sorting is moe_sorting
    assert "this AITER's moe_sorting has no argument dispatch_policy" in caplog.text


@pytest.mark.parametrize("revision", ["0.1.19-0123456789abcdef", "0.1.18"])
def test_rows_of_another_aiter_are_not_used(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any], revision: str
) -> None:
    """Protects against a table that an upgrade of AITER has made stale: the policy stays 0, AITER decides."""
    integration.install(make_table(ROW, revision=revision))
    call(30)
    assert stand_in.runs[-1].policy == 0
    assert integration.counts() == {"left to the kernels' own rule": 1}


def test_rows_of_builtin_kernels_never_steer_aiter(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]
) -> None:
    """Protects against figures of other kernels: they cross elsewhere. A file of nothing else is refused at once."""
    path = make_table(ROW, provider="builtin")
    with pytest.raises(TableError, match="has no rows of AITER's kernels; `moesort-tune sweep --kernels aiter`"):
        integration.install(path)
    integration.install(path.parent)
    call(30)
    assert stand_in.runs[-1].policy == 0


@pytest.mark.parametrize("kernels", ["aiter", "builtin"])
@pytest.mark.parametrize(
    ("change", "kwargs"),
    [
        (lambda _: (), {}),
        (lambda args: args[:1], {}),
        (lambda args: (args[0][0], *args[1:]), {}),
        (lambda args: (args[0].tolist(), *args[1:]), {}),
        (lambda args: args, {"num_experts": 8}),
        (lambda args: args, {"no_such_argument": 1}),
    ],
)
def test_calls_that_aiter_refuses_end_in_its_own_words(
    *,
    stand_in: StandIn,
    make_table: MakeTable,
    torch_device: torch.device,
    kernels: Any,
    change: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    kwargs: dict[str, Any],
) -> None:
    """Protects whoever debugs a wrong call: the wrap neither hides AITER's error nor has one of its own."""
    arguments = make_arguments(cases.make_uniform(30, 2, 8), torch_device)
    args = change((arguments["topk_ids"], arguments["topk_weights"], 8, 16, torch.bfloat16))
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        stand_in.fused_moe.moe_sorting(*args, **kwargs)
    integration.install(make_table(ROW, provider=kernels), kernels=kernels)
    with pytest.raises(type(theirs.value)) as ours:
        stand_in.fused_moe.moe_sorting(*args, **kwargs)
    assert str(ours.value) == str(theirs.value)


def test_relative_table_is_that_of_the_folder_where_it_was_named(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects processes that go to another folder between start-up and their first call."""
    path = make_table(ROW)
    monkeypatch.chdir(path.parent)
    integration.install(path.name)
    monkeypatch.chdir("/")
    call(30)
    assert stand_in.runs[-1].policy == 2


def test_held_wrap_goes_by_the_installation_of_the_day(
    stand_in: StandIn, make_table: MakeTable, torch_device: torch.device
) -> None:
    """Protects modules that took moe_sorting by name while it was wrapped: a second install steers them, too."""
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)
    args = (arguments["topk_ids"], arguments["topk_weights"], 128, 16, torch.bfloat16)
    integration.install(make_table(examples.row(128, 4, switch=None)))
    held = stand_in.fused_moe.moe_sorting
    held(*args)
    integration.install(make_table(ROW))
    held(*args)
    integration.uninstall()
    held(*args)
    assert [run.policy for run in stand_in.runs] == [1, 2, 0]


def test_reloaded_aiter_is_wrapped_and_restored(stand_in: StandIn, make_table: MakeTable) -> None:
    """Protects sessions that reload modules: after `uninstall` no wrap is left in either reference."""
    integration.install(make_table(ROW))
    shared = stand_in.dp_shared_expert
    importlib.reload(stand_in.fused_moe)
    integration.uninstall()
    assert not hasattr(stand_in.fused_moe.moe_sorting, "__wrapped__")
    assert not hasattr(shared.moe_sorting, "__wrapped__")


def test_published_figures_steer_their_own_shapes_alone(
    stand_in: StandIn, torch_device: torch.device, call: Callable[..., Any], tmp_path: Path
) -> None:
    """Protects other models from a file of two rows: AITER's own rule knows more than a row of another model."""
    limits = get_sorting_device(torch_device).kernels.limits
    row = examples.row(128, 4, switch=21, evidence=Evidence(source="a pull request"))
    entry = examples.make_published_entry([row], device=examples.device(compute_units=limits.compute_units))
    path = tmp_path / "published.yaml"
    store.save(path, examples.table(entry, arch=limits.arch))
    integration.install(path)
    call(30)
    arguments = make_arguments(cases.make_uniform(30, 2, 8), torch_device)
    stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 8)
    assert [run.policy for run in stand_in.runs] == [2, 0]
    assert integration.counts() == {"exact row": 1, "left alone: not among the published figures": 1}


def test_table_of_the_environment_is_used(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects deployments that name a table once, by MOESORT_TUNE_TABLE."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW)))
    integration.install()
    call(30)
    assert stand_in.runs[-1].policy == 2


def test_second_install_replaces_the_first(stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]) -> None:
    """Protects plugins that are loaded twice: one wrap, the latest table, counts of its own."""
    original = stand_in.fused_moe.moe_sorting
    integration.install(make_table(examples.row(128, 4, switch=None)))
    call(30)
    integration.install(make_table(ROW))
    call(30)
    assert [run.policy for run in stand_in.runs] == [1, 2]
    assert integration.counts() == {"exact row": 1}
    integration.uninstall()
    assert stand_in.fused_moe.moe_sorting is original


def test_uninstall_below_another_wrap_lets_calls_through(
    stand_in: StandIn, make_table: MakeTable, call: Callable[..., Any]
) -> None:
    """Protects other packages that wrap the same function: their wrap stays, ours does nothing any more."""
    integration.install(make_table(ROW))
    ours = stand_in.fused_moe.moe_sorting

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    stand_in.fused_moe.moe_sorting = theirs
    integration.uninstall()
    call(30)
    assert stand_in.fused_moe.moe_sorting is theirs
    assert stand_in.runs[-1].policy == 0


def test_wrong_table_is_refused_when_it_is_installed(stand_in: StandIn, tmp_path: Path) -> None:
    """Protects a server from finding out in its first call that it was given no table."""
    with pytest.raises(TableError, match="does not exist"):
        integration.install(tmp_path / "missing.yaml")
    (tmp_path / "words.yaml").write_text("schema: one\n")
    with pytest.raises(TableError, match="schema: expected int"):
        integration.install(tmp_path / "words.yaml")
    assert stand_in.modules() == {}


@pytest.mark.usefixtures("no_aiter")
def test_missing_aiter_is_an_error() -> None:
    """Protects a user who installed AITER elsewhere."""
    with pytest.raises(integration.AiterMissingError, match="there is no package aiter"):
        integration.install()


def test_unknown_kernels_are_an_error(stand_in: StandIn) -> None:
    """Protects against a misspelt option."""
    del stand_in
    with pytest.raises(ValueError, match="kernels must be aiter or builtin, got 'ck'"):
        integration.install(kernels="ck")


def test_counts_are_told_in_the_log(
    make_table: MakeTable, call: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Protects operators of a server: its log shows at the first call whether the table is in use."""
    with caplog.at_level(logging.INFO, logger="moesort_tune"):
        integration.install(make_table(ROW))
        call(30)
    assert "AITER's sorting calls are counted, and decided by" in caplog.text
    (logged,) = read_log(caplog.text.splitlines()).counts
    assert (logged.pid, logged.calls, logged.counts) == (os.getpid(), 1, {"exact row": 1})


def test_errors_of_aiter_reach_the_caller(
    stand_in: StandIn, make_table: MakeTable, torch_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects AITER's own error handling: the wrap neither hides nor repeats a call that fails."""
    calls: list[int] = []

    def moe_sorting(topk_ids: torch.Tensor, num_experts: int, dispatch_policy: int = 0) -> None:
        calls.append(dispatch_policy)
        raise RuntimeError(f"no memory for {len(topk_ids)} tokens, {num_experts} experts")

    moe_sorting.__module__ = "aiter.fused_moe"
    monkeypatch.setattr(stand_in.fused_moe, "moe_sorting", moe_sorting)
    integration.install(make_table(ROW))
    ids = torch.zeros(30, 4, dtype=torch.int32, device=torch_device)
    with pytest.raises(RuntimeError, match="no memory for 30 tokens, 128 experts"):
        stand_in.fused_moe.moe_sorting(ids, 128)
    assert calls == [2]
