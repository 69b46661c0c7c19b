"""SGLang's own code: its plugin loader, workers that are started as it starts them, and its sort inside AITER."""

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.cli.main import run as run_command
from tests.integrations.real.call_forms import list_call_forms, list_called_names
from tests.integrations.real.conftest import Run, Server
from tests.integrations.real.scenarios import SWITCH

pytestmark = pytest.mark.real_sglang

POLICY_VARIABLE = "SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY"


@pytest.fixture
def environ(sglang: Path) -> Iterator[Any]:
    """Yield SGLang's module of environment variables, which imports nothing else."""
    name = "sglang_environ"
    spec = importlib.util.spec_from_file_location(name, sglang / "sglang/srt/environ.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def test_policy_that_sglang_passes_is_two_unless_it_is_set(environ: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects what docs/serving.md says: by default SGLang names a policy, so that calls seem the caller's own."""
    monkeypatch.delenv(POLICY_VARIABLE, raising=False)
    assert environ.envs.SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY.get() == 2
    monkeypatch.setenv(POLICY_VARIABLE, "0")
    assert environ.envs.SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY.get() == 0


def test_sglang_reads_its_policy_when_its_runner_is_imported(sglang: Path) -> None:
    """Protects whoever sets the variable from Python: later than this module's import it has no effect."""
    tree = ast.parse((sglang / "sglang/srt/layers/moe/moe_runner/aiter.py").read_text())
    read = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    assert f"_MOE_SORTING_DISPATCH_POLICY = envs.{POLICY_VARIABLE}.get()" in read


def test_sglang_calls_moe_sorting_through_fused_moe_alone(sglang: Path) -> None:
    """Protects the list of callers: SGLang has no call of its own that the stand-in would have to play."""
    assert [form for file in sglang.rglob("*.py") for form in list_call_forms(file)] == []


def test_scheduler_loads_plugins_first(sglang: Path) -> None:
    """Protects the wrap: nothing of the process that sorts runs before the plugins."""
    calls = list_called_names(sglang / "sglang/srt/managers/scheduler.py", "run_scheduler_process")
    assert calls[0] == "load_plugins"


def test_worker_of_sglang_is_steered_by_its_environment(server: Server, sglang: Path) -> None:
    """Protects deployments: SGLang finds the plugin by itself in a spawned worker, and AITER is not imported."""
    served = server.serve(framework="sglang", sources=sglang, method="spawn", **{POLICY_VARIABLE: "0"})
    assert served == {
        "steered": [[SWITCH - 1, 1], [SWITCH, 2]],
        "counts": {"exact row": 2},
        "imported by plugins": False,
        "method": "spawn",
    }
    assert run_command(["audit", str(server.audit)]) == 0


def test_audit_finds_the_table_that_sglangs_default_ignores(
    server: Server, sglang: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects users of SGLang who have set what this package asks for and not what SGLang does."""
    served = server.serve(framework="sglang", sources=sglang, method="spawn")
    assert served["steered"] == [[SWITCH - 1, 2], [SWITCH, 2]]
    assert run_command(["audit", str(server.audit)]) == 1
    printed = capsys.readouterr()
    assert "2 calls, 20-21 tokens: never read (left alone: SGLang's default policy)" in printed.out
    assert f"set {POLICY_VARIABLE}=0" in printed.out


def test_sglangs_default_gives_way_on_request(server: Server, sglang: Path) -> None:
    """Protects deployments that set this package's variables alone."""
    served = server.serve(framework="sglang", sources=sglang, method="spawn", MOESORT_TUNE_OVERRIDE_POLICY="1")
    assert served["steered"] == [[SWITCH - 1, 1], [SWITCH, 2]]
    assert run_command(["audit", str(server.audit)]) == 0


def test_small_sort_of_sglang_stands_below_the_wrap(run: Run, sglang: Path, tables: Callable[[str], str]) -> None:
    """Protects gfx950: up to 256 pairs SGLang's own sort runs and stays right, beyond them the table decides."""
    real = run("sort_below_sglang", table=tables("aiter"), sglang=sglang, tokens=[1, 40, 64])
    assert max(real["differences"]) < 1e-3
    assert real["steered"] == [[65, 2], [104, 2], [128, 2]]
    assert real["counts"] == {"replaced by the framework": 3, "exact row": 3}
