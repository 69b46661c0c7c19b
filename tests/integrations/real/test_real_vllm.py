"""vLLM's own code: its callers of AITER, its plugin loader, and workers that are started as it starts them."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from moesort_tune.cli.main import run as run_command
from tests.integrations.conftest import StandIn
from tests.integrations.real import sources
from tests.integrations.real.call_forms import CallForm, list_call_forms, list_called_names, take_functions
from tests.integrations.real.conftest import Run, Server
from tests.integrations.real.scenarios import EXPERTS, SWITCH

pytestmark = pytest.mark.real_vllm


def make_expert_mask(vllm: Path, *, ranks: int, shared: int) -> list[int]:
    """Return the mask of vLLM's first rank."""
    file = vllm / "vllm/model_executor/layers/fused_moe/expert_map_manager.py"
    determine = take_functions(file, ("determine_expert_map",), torch=torch, get_args=get_args)["determine_expert_map"]
    mask: torch.Tensor = determine(
        ranks, 0, EXPERTS, "linear", num_fused_shared_experts=shared, return_expert_mask=True
    )[2]
    return [int(entry) for entry in mask]


def test_every_call_of_vllm_fits_the_stand_in(stand_in: StandIn, vllm: Path) -> None:
    """Protects vLLM's direct calls of moe_sorting: six by position, five results."""
    forms = {form for file in vllm.rglob("*.py") for form in list_call_forms(file)}
    assert forms == {CallForm(6, frozenset(), 5)}
    inspect.signature(stand_in.fused_moe.moe_sorting).bind(*range(6))


def test_expert_mask_has_a_last_entry_that_is_off(vllm: Path) -> None:
    """Protects look-ups under expert parallelism: a call asks for experts, fused shared ones and one that is none."""
    mask = make_expert_mask(vllm, ranks=2, shared=1)
    assert mask == [1] * (EXPERTS // 2) + [0] * (EXPERTS // 2) + [1, 0]


def test_workers_load_plugins_before_they_import_a_worker_class(vllm: Path) -> None:
    """Protects the wrap: the worker class imports models and AITER, after the plugins were called."""
    calls = list_called_names(vllm / "vllm/v1/worker/worker_base.py", "init_worker")
    assert calls.index("load_general_plugins") < calls.index("resolve_obj_by_qualname")
    assert "load_general_plugins" in (vllm / "vllm/v1/engine/core.py").read_text()


def test_vllms_own_calls_are_steered(run: Run, vllm: Path, tables: Callable[[str], str]) -> None:
    """Protects vLLM's two ways into AITER: its fused_moe operator, and moe_sorting by itself."""
    steered = run("call_as_vllm", table=tables("aiter"), vllm=vllm, tokens=[SWITCH - 1, SWITCH])
    assert steered == [[SWITCH - 1, 1]] * 2 + [[SWITCH, 2]] * 2


def test_builtin_sort_takes_vllms_expert_mask(run: Run, vllm: Path, tables: Callable[[str], str]) -> None:
    """Protects expert parallelism of vLLM with our kernels: the mask is longer than the experts."""
    masks = [make_expert_mask(vllm, ranks=2, shared=0)]
    real = run("sort_by_builtin", table=tables("builtin"), tokens=[20, 40], masks=masks)
    assert max(real["differences"]) < 1e-3
    assert real["sorts"] == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_of_vllm_is_steered_by_its_environment(server: Server, vllm: Path, method: str) -> None:
    """Protects deployments: vLLM finds the plugin by itself, in workers of either kind, and AITER is not imported."""
    sources.check_importable("vllm")
    assert server.serve(framework="vllm", sources=vllm, method=method) == {
        "steered": [[SWITCH - 1, 1], [SWITCH, 2]],
        "counts": {"exact row": 2},
        "imported by plugins": False,
        "method": method,
    }
    assert run_command(["audit", str(server.audit)]) == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_audit_finds_the_table_that_vllms_variable_overrules(
    server: Server, vllm: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """Protects against a tuned table that nobody reads: one variable of vLLM's takes every choice away."""
    sources.check_importable("vllm")
    served = server.serve(framework="vllm", sources=vllm, method=method, VLLM_ROCM_AITER_MOE_DISPATCH_POLICY="1")
    assert served["steered"] == [[SWITCH - 1, 1], [SWITCH, 1]]
    assert run_command(["audit", str(server.audit)]) == 1
    printed = capsys.readouterr()
    assert "2 calls, 20-21 tokens: never read (left alone: the caller's own policy)" in printed.out
    assert "VLLM_ROCM_AITER_MOE_DISPATCH_POLICY is set: set it to 0" in printed.out
    assert "the table decides 0 of its 2 sorts (0.0%), less than 0.9" in printed.out
