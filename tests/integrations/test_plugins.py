"""The entry points that vLLM and SGLang call in each of their processes."""

import importlib.metadata
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moesort_tune.audit import reporter
from moesort_tune.audit.judgement import read_folder
from moesort_tune.integrations import aiter as integration
from moesort_tune.integrations import sglang, vllm
from tests.integrations.conftest import MakeTable, StandIn
from tests.tables import examples

ROW = examples.row(128, 4, switch=21)
GROUPS = {"vllm.general_plugins": vllm.register, "sglang.srt.plugins": sglang.register}


@pytest.fixture
def framework_logger() -> Iterator[list[str]]:
    """Log as vLLM does, by a handler of its own logger alone. Yield the lines that arrive there."""
    lines: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    theirs, ours = logging.getLogger("vllm"), logging.getLogger("moesort_tune")
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in (theirs, ours)]
    theirs.handlers, theirs.propagate, ours.handlers = [handler], False, []
    theirs.setLevel(logging.INFO)
    yield lines
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("group", GROUPS)
def test_entry_point_is_declared(group: str) -> None:
    """Protects the discovery: a framework finds the plugin by these names alone."""
    (found,) = importlib.metadata.entry_points(group=group, name="moesort_tune")
    assert found.load() is GROUPS[group]


@pytest.mark.parametrize("register", GROUPS.values())
def test_named_table_is_used(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, register: Callable[[], None]
) -> None:
    """Protects the whole way of a deployment: one environment variable, and AITER goes by the table."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW)))
    register()
    register()
    assert stand_in.modules() == {}
    assert stand_in.fused_moe.moe_sorting.__wrapped__.__module__ == "aiter.fused_moe"


def test_plugin_says_one_line_where_the_framework_logs(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, framework_logger: list[str]
) -> None:
    """Protects whoever reads the server's log: it says which table decides, and how to stop that."""
    del stand_in
    table = make_table(ROW)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(table))
    vllm.register()
    assert framework_logger == [
        f"moesort-tune chooses between AITER's sorting kernels, by {table}; unset MOESORT_TUNE_TABLE to stop it"
    ]


def test_nothing_happens_without_a_table(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, framework_logger: list[str]
) -> None:
    """Protects everybody who has this package installed and did not ask for it: no wrap, no line."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", "")
    vllm.register()
    assert framework_logger == []
    assert not hasattr(stand_in.fused_moe.moe_sorting, "__wrapped__")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MOESORT_TUNE_KERNELS", "ck", "kernels must be aiter or builtin, got 'ck'"),
        ("MOESORT_TUNE_TABLE", "/nowhere/gfx950.yaml", "/nowhere/gfx950.yaml does not exist"),
    ],
)
def test_plugin_never_stops_the_server(
    *,
    stand_in: StandIn,
    make_table: MakeTable,
    monkeypatch: pytest.MonkeyPatch,
    framework_logger: list[str],
    variable: str,
    value: str,
    words: str,
) -> None:
    """Protects serving from a wrong environment: one line says what is wrong, and AITER runs as it is."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW)))
    monkeypatch.setenv(variable, value)
    vllm.register()
    (line,) = framework_logger
    assert line.startswith(f"moesort-tune does nothing in this process: {words}")
    assert not hasattr(stand_in.fused_moe.moe_sorting, "__wrapped__")


def test_installation_of_ones_own_is_kept(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, framework_logger: list[str]
) -> None:
    """Protects code that installs by itself and then starts a framework: its table stays, and the plugin says so."""
    del stand_in
    own = make_table(ROW)
    integration.install(own)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", "/another/table.yaml")
    vllm.register()
    assert framework_logger == [f"moesort-tune already chooses between AITER's sorting kernels, by {own}"]


@pytest.mark.parametrize(
    ("table", "words"), [(None, "MOESORT_TUNE_TABLE names no table; set both"), ("table", "has the digest")]
)
def test_table_that_is_not_the_required_one_is_a_fault(
    *,
    stand_in: StandIn,
    make_table: MakeTable,
    monkeypatch: pytest.MonkeyPatch,
    framework_logger: list[str],
    tmp_path: Path,
    table: str | None,
    words: str,
) -> None:
    """Protects fleets that must decide alike: a server with another table, or none, is found by its audit."""
    del stand_in
    monkeypatch.setenv("MOESORT_TUNE_REQUIRE", "a" * 64)
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW)) if table else "")
    monkeypatch.setenv("MOESORT_TUNE_AUDIT", str(tmp_path / "audit"))
    vllm.register()
    reporter.stop()
    assert any(words in line for line in framework_logger)
    (record,) = read_folder(tmp_path / "audit").records
    assert record.is_faulty
    assert words in record.state


@pytest.mark.usefixtures("no_aiter")
def test_plugin_without_aiter_says_so(
    make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, framework_logger: list[str]
) -> None:
    """Protects servers on other machines that share an environment: no AITER, no harm."""
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW, revision="0.1.19")))
    vllm.register()
    (line,) = framework_logger
    assert "does nothing in this process: AITER cannot be steered because it is not installed" in line
    assert integration.counts() == {}


def test_builtin_kernels_can_be_asked_for(
    stand_in: StandIn, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch, framework_logger: list[str]
) -> None:
    """Protects deployments that go further: MOESORT_TUNE_KERNELS=builtin, without a line of code."""
    del stand_in
    monkeypatch.setenv("MOESORT_TUNE_TABLE", str(make_table(ROW, provider="builtin")))
    monkeypatch.setenv("MOESORT_TUNE_KERNELS", "builtin")
    vllm.register()
    assert "between moesort-tune's sorting kernels" in framework_logger[0]


def test_plugin_imports_neither_torch_nor_aiter() -> None:
    """Protects the start of processes that never sort: the plugin costs them a few milliseconds."""
    code = (
        "import sys; from moesort_tune.integrations import vllm; vllm.register();"
        "print([name for name in ('torch', 'aiter', 'numpy', 'hip', 'rocm') if name in sys.modules])"
    )
    environment = {"MOESORT_TUNE_TABLE": "/nowhere.yaml", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
    assert "moesort-tune does nothing in this process" in answer.stderr
