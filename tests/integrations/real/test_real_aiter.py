"""AITER's own Python code, from fused_moe down to its compiled modules, and the stand-in beside it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integrations.conftest import STAND_IN, StandIn
from tests.integrations.real.call_forms import format_operator, format_signature, list_call_forms, list_holders
from tests.integrations.real.conftest import Run
from tests.integrations.real.scenarios import EXPERTS, OPTIONS, list_shapes, sort

pytestmark = pytest.mark.real_aiter

SERVING = ("fused_moe.py", "fused_moe_dp_shared_expert.py")
"""Files of AITER that call moe_sorting when a model is served; the others tune and test."""

REFERENCES = {"aiter.fused_moe_dp_shared_expert"}
"""Modules of a server that keep moe_sorting under a name of theirs; the stand-in has them."""

TOOLS = ("aiter.ops.flydsl.test_flydsl_moe_a4w4", "aiter.ops.flydsl.mxfp4_v2_tune_utils")
"""Modules that keep moe_sorting under a name of theirs and are never part of a server."""

OUTPUTS = {"none": "output", "accumulate off": "[0, 0]", "local ids": "output", "aux": "output", "flat": "[10, 8]"}
"""Which moe_buf a call with `output` returns, in an AITER that has this argument."""


def list_serving_forms(folder: Path) -> set[tuple[int, frozenset[str]]]:
    """Return positional arguments and keywords of the calls in the files that serve; `output` is left out."""
    forms = [
        form for file in SERVING for form in list_call_forms(folder / "aiter" / file, is_module=file == "fused_moe.py")
    ]
    return {(form.positional, form.keywords - {"output", "**"}) for form in forms}


def test_stand_in_is_called_as_aiter_calls_itself(aiter_sources: Path) -> None:
    """Protects against a stand-in that drifts: it makes AITER's calls, by position and keyword, and no others."""
    assert list_serving_forms(STAND_IN) == list_serving_forms(aiter_sources)


def test_every_reference_to_moe_sorting_is_known(aiter_sources: Path) -> None:
    """Protects `uninstall` and calls from modules that took the function before it was wrapped."""
    assert list_holders(aiter_sources / "aiter") - set(TOOLS) == list_holders(STAND_IN / "aiter") == REFERENCES


def test_every_call_of_aiter_fits_the_stand_in(stand_in: StandIn, aiter_sources: Path) -> None:
    """Protects callers outside of serving: the stand-in takes what tuning and tests of AITER pass."""
    signature = inspect.signature(stand_in.fused_moe.moe_sorting)
    folder = aiter_sources / "aiter"
    files = [(file, file == folder / "fused_moe.py") for file in folder.rglob("*.py")]
    forms = [form for file, is_module in files for form in list_call_forms(file, is_module=is_module)]
    assert len(forms) >= 4
    for form in forms:
        signature.bind(*range(form.positional), **dict.fromkeys(form.keywords))


def test_stand_in_has_aiters_signatures_and_results(
    run: Run, stand_in: StandIn, torch_device: torch.device, generation: str
) -> None:
    """Protects every test against the stand-in: the real functions take and return the same, option by option."""
    real = run("describe")
    for name, signature in real["functions"].items():
        played_signature = format_signature(getattr(stand_in.fused_moe, name))
        assert played_signature == (signature if name == "moe_sorting" else signature.removesuffix(", output=None"))
    opus = stand_in.opus
    assert real["kernel"] == format_signature(opus.moe_sorting_opus_fwd)
    assert real["operators"] == {
        "moe_sorting_opus_fwd": format_operator("moe_sorting_opus_fwd"),
        "moe_sorting_opus_get_workspace_size": format_signature(opus.moe_sorting_opus_get_workspace_size),
    }
    played = {name: sort(stand_in.fused_moe, options, device=str(torch_device)) for name, options in OPTIONS.items()}
    assert real["shapes"] == {name: list_shapes(tensors) for name, tensors in played.items()}
    assert real["adaptive"] == len(played["aux"])
    assert real["outputs"] == (OUTPUTS if generation == "newer" else {})


def test_table_decides_what_reaches_the_compiled_sort(run: Run, tables: Callable[[str], str]) -> None:
    """Protects the whole path of a decision: from fused_moe through AITER's operators to kernel and workspace."""
    real = run("steer", table=tables("aiter"), tokens=[1, 20, 21, 56, 57])
    # The workspace is of as many bytes as its policy says: none for oneshot, 66 for multiphase.
    assert real["steered"] == [[1, 1, 0], [20, 1, 0], [21, 2, 66], [56, 2, 66], [57, 2, 66]]
    assert real["counts"] == {"exact row": 5}
    assert (real["wrapped"], real["restored"], real["after"]) == (True, True, 0)


def test_builtin_sort_gives_the_results_of_aiters_reference(run: Run, tables: Callable[[str], str]) -> None:
    """Protects the replaced sort: an MoE layer of AITER on our kernels is what AITER's own reference computes."""
    half = [1] * (EXPERTS // 2) + [0] * (EXPERTS // 2)
    masks: list[Any] = [None, half, [*half, 0]]
    real = run("sort_by_builtin", table=tables("builtin"), tokens=[1, 20, 21, 40], masks=masks)
    assert max(real["differences"]) < 1e-3  # one rounding of bfloat16
    assert real["sorts"] == 0
