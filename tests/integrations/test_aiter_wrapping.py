"""The wrap around AITER's moe_sorting: it is found, put around once, and taken off, whatever else others put there."""

import functools
import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from moesort_tune.audit.record import Process, Record
from moesort_tune.audit.tally import Tally
from moesort_tune.integrations import aiter as integration
from moesort_tune.integrations.aiter import PASSED_BY, STEERING, UNINSTALLED, WAITING, WRAPPED_OVER
from tests.integrations.conftest import MakeTable, StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases
from tests.tables import examples

pytestmark = pytest.mark.gpu

ROW = examples.row(128, 4, switch=21)
PROCESS = Process(pid=1, host="worker", started="", token="00112233")


@pytest.fixture
def sort(stand_in: StandIn, torch_device: torch.device) -> Callable[..., Any]:
    """Call a moe_sorting, by default AITER's, with 30 tokens, for which the table names multiphase."""
    arguments = make_arguments(cases.make_uniform(30, 4, 128), torch_device)

    def call(function: Callable[..., Any] | None = None) -> Any:
        function = function or stand_in.fused_moe.moe_sorting
        return function(arguments["topk_ids"], arguments["topk_weights"], 128, 8, torch.bfloat16)

    return call


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Process, str], Record]]:
    """Return what describes the latest installation, in place of the reporter's thread."""
    given: list[Callable[[Process, str], Record]] = []
    monkeypatch.setattr("moesort_tune.audit.reporter.start", given.append)
    return given


class Unhashable:
    """A callable around another, as a framework may write one."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __eq__(self, other: object) -> bool:
        raise AssertionError("functions are compared by identity")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def wrap_benignly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function around another, as a profiler does."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def test_second_installation_below_a_wrapper_of_others_counts_once(
    stand_in: StandIn, make_table: MakeTable, sort: Callable[..., Any]
) -> None:
    """Protects a forward pass from endless recursion: our old wrapper may sit below somebody's, below our new one."""
    integration.install(make_table(ROW))
    stand_in.fused_moe.moe_sorting = wrap_benignly(stand_in.fused_moe.moe_sorting)
    integration.install(make_table(ROW))
    sort()
    assert [run.policy for run in stand_in.runs] == [2]
    assert integration.counts() == {"exact row": 1}


def test_reload_counts_once(stand_in: StandIn, make_table: MakeTable, sort: Callable[..., Any]) -> None:
    """Protects notebooks that reload AITER: its new function is wrapped, the old one is not asked."""
    integration.install(make_table(ROW))
    sort()
    importlib.reload(stand_in.fused_moe)
    sort()
    assert integration.counts() == {"exact row": 2}


def test_modules_outside_aiter_are_steered_and_restored(
    stand_in: StandIn, make_table: MakeTable, sort: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects code that took the function by name before the installation, like ATOM's layers."""
    layer = ModuleType("layer")
    original = vars(layer)["moe_sorting"] = stand_in.fused_moe.moe_sorting
    monkeypatch.setitem(sys.modules, "layer", layer)
    integration.install(make_table(ROW))
    sort(vars(layer)["moe_sorting"])
    assert integration.counts() == {"exact row": 1}
    integration.uninstall()
    assert vars(layer)["moe_sorting"] is original


def test_callable_that_cannot_be_hashed_is_wrapped(
    stand_in: StandIn, make_table: MakeTable, sort: Callable[..., Any]
) -> None:
    """Protects frameworks that replace the function by an object: it is AITER's function for us, and is put back."""

    def plain(topk_ids: Any, num_experts: int, *rest: Any, dispatch_policy: int = 0) -> Any:
        return topk_ids, num_experts, rest, dispatch_policy

    theirs = stand_in.fused_moe.moe_sorting = Unhashable(plain)
    integration.install(make_table(ROW))
    sort()
    integration.uninstall()
    assert vars(stand_in.fused_moe)["moe_sorting"] is theirs


def test_state_says_whether_calls_are_seen(
    stand_in: StandIn, make_table: MakeTable, reported: list[Callable[[Process, str], Record]]
) -> None:
    """Protects the audit: a process in which calls pass by is a fault, and one that a profiler looks at is none."""
    integration.install(make_table(ROW))
    (describe,) = reported

    def get_state() -> tuple[str, bool]:
        record = describe(PROCESS, "")
        return record.state, record.is_faulty

    assert get_state() == (WAITING, False)
    ours = stand_in.fused_moe.moe_sorting
    assert get_state() == (STEERING, False)
    stand_in.fused_moe.moe_sorting = wrap_benignly(ours)
    assert get_state() == (STEERING, False)
    stand_in.fused_moe.moe_sorting = lambda *_: None
    assert get_state() == (WRAPPED_OVER, True)
    integration.uninstall()
    assert get_state() == (UNINSTALLED, True)


def test_import_that_was_not_seen_is_a_fault(
    stand_in: StandIn,
    make_table: MakeTable,
    reported: list[Callable[[Process, str], Record]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects against loaders that put AITER into the process without the import system."""
    integration.install(make_table(ROW))
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[1:])
    assert stand_in.fused_moe
    record = reported[0](PROCESS, "")
    assert (record.state, record.is_faulty) == (PASSED_BY, True)


def test_import_after_uninstall_is_left_alone(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects an import that another thread has begun: a loader of ours may outlive the installation."""
    integration.install(make_table(ROW))
    hook = sys.meta_path[0]
    integration.uninstall()
    monkeypatch.setattr(sys, "meta_path", [hook, *sys.meta_path])
    assert not hasattr(stand_in.fused_moe.moe_sorting, "__wrapped__")


def test_fork_counts_logs_and_warns_anew(
    make_table: MakeTable, sort: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the log of forked workers: each says its first call, under a name of its own."""
    with caplog.at_level(logging.INFO, logger="moesort_tune"):
        integration.install(make_table(ROW))
        sort()
        integration._start_anew()
        sort()
    lines = [record.message for record in caplog.records if record.message.startswith("moe_sorting in process")]
    assert len(set(lines)) == 2
    assert integration.counts() == {"exact row": 1}


def test_policy_that_changes_on_the_way_is_another_kernel(
    stand_in: StandIn, make_table: MakeTable, sort: Callable[..., Any]
) -> None:
    """Protects against a wrapper that sets another policy after ours: what runs is not the table's choice."""
    integration.install(make_table(ROW))
    sort()
    package: Any = sys.modules["aiter"]
    inner = package.moe_sorting_opus_fwd

    def change(*args: Any, **kwargs: Any) -> Any:
        position = 12
        assert args[position] == 2
        return inner(*args[:position], 1, *args[position + 1 :], **kwargs)

    package.moe_sorting_opus_fwd = change
    sort()
    assert integration.counts() == {"exact row": 1, "inconclusive: another kernel ran": 1}
    del stand_in


def test_tables_name_may_hold_bytes_that_are_no_text(
    stand_in: StandIn, make_table: MakeTable, tmp_path: Path, reported: list[Callable[[Process, str], Record]]
) -> None:
    """Protects the record of a table in a folder with an old encoding: JSON takes text alone."""
    del stand_in
    folder = tmp_path / "t\udcff"
    folder.mkdir()
    table = make_table(ROW).rename(folder / "a.yaml")
    integration.install(table)
    assert reported[0](PROCESS, "").table == str(table).replace("\udcff", "\\udcff")


def test_tallies_have_names_of_their_own() -> None:
    """Protects a log over restarts in containers, where the numbers of processes are the same."""
    tally = Tally()
    before = tally.token
    tally.start_anew()
    assert len({before, tally.token, Tally().token}) == 3
