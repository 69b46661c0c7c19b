"""`sweep --kernels aiter`: AITER's own two paths, checked, timed and written for AITER alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from moesort_tune import runtime
from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.integrations import aiter as integration
from moesort_tune.providers.facts import registry
from moesort_tune.providers.work import aiter_package
from moesort_tune.providers.work.base import Point, ProviderError, available, open_kernels
from moesort_tune.shipped import get_tables_folder
from moesort_tune.sorting.check import WrongOutputError
from moesort_tune.tables import store
from tests.integrations.conftest import STAND_IN, StandIn
from tests.operator.torch_cases import make_arguments
from tests.sorting import cases

POINT = Point(Shape(32, 4), 40, Settings(model_dim=36, dtype="float32"), variants=2)

CLOCK = "moe_sorting_wave*=99; moe_sorting_oneshot*=1+tokens; moe_sorting_*=6; sentinel=10"
"""oneshot is faster for a few tokens only, whatever the number of multiphase's launches; wave never is."""


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kernel", [candidate.name for candidate in registry.get_facts("aiter").candidates])
@pytest.mark.parametrize("settings", [POINT.settings, Settings(ep=2, unit_size=16)])
def test_right_outputs_pass_the_check(device: hip.Device, kernel: KernelName, settings: Settings) -> None:
    """Protects a sweep of AITER: both paths are run over junk and compared, with and without a mask."""
    provider = open_kernels("aiter", device)
    point = Point(POINT.shape, POINT.tokens, settings, POINT.variants)
    with provider.prepare(point) as prepared:
        for variant in range(point.variants):
            prepared.check(kernel, variant, device.create_stream())


@pytest.mark.parametrize(
    ("output", "words"),
    [("sorted_token_ids", r"sorted_token_ids\[0\] is"), ("moe_buf", "moe_buf is not all zero")],
)
def test_wrong_output_is_never_timed(
    device: hip.Device, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    """Protects the table from an AITER that is broken on this machine: it is reported, and no row is written."""
    plain = stand_in.opus.moe_sorting_opus_fwd

    def wrong(topk_ids: torch.Tensor, topk_weights: torch.Tensor, *rest: Any) -> None:
        plain(topk_ids, topk_weights, *rest)
        tensors = {"sorted_token_ids": rest[0], "moe_buf": rest[4]}
        tensors[output].view(-1)[0] += 1

    monkeypatch.setattr(sys.modules["aiter"], "moe_sorting_opus_fwd", wrong)
    provider = open_kernels("aiter", device)
    with provider.prepare(POINT) as prepared, pytest.raises(WrongOutputError, match=f"AITER's oneshot .*{words}"):
        prepared.check("oneshot", 0, device.create_stream())


@pytest.mark.usefixtures("stand_in")
def test_tail_that_aiter_leaves_is_no_error(device: hip.Device) -> None:
    """Protects AITER's meaning: it zeroes whole pieces of 16 bytes, and nobody reads behind them."""
    provider = open_kernels("aiter", device)
    point = Point(Shape(8, 2), 3, Settings(model_dim=3, dtype="bfloat16"), variants=1)
    with provider.prepare(point) as prepared:
        tensors = prepared._tensors[0]  # type: ignore[attr-defined]
        whole = provider._aiter.moe_sorting_opus_fwd  # type: ignore[attr-defined]

        def leave_the_tail(*arguments: Any) -> None:
            whole(*arguments)
            tensors.moe_buf.view(-1)[8:] = 1

        prepared._aiter = type("Aiter", (), {"moe_sorting_opus_fwd": staticmethod(leave_the_tail)})  # type: ignore[attr-defined]
        prepared.check("oneshot", 0, device.create_stream())


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("num_experts", "limit"), [(8, 2**24 - 1), (818, 2**24 - 1), (819, 0), (1024, 0)])
def test_oneshot_is_measured_where_aiter_may_run_it(device: hip.Device, num_experts: int, limit: int) -> None:
    """Protects the sweep from a kernel that never ends, and from our own kernels' limit, which is not AITER's."""
    assert open_kernels("aiter", device).limits(Shape(num_experts, 2)) == {"oneshot": limit, "multiphase": 2**24 - 1}


@pytest.mark.usefixtures("no_aiter")
def test_aiter_is_a_provider_only_where_it_is_installed(device: hip.Device) -> None:
    """Protects `--kernels all`: it means AITER too where there is one, and the error says what there is where not."""
    assert available() == ["builtin"]
    with pytest.raises(ProviderError, match=r"there is no package aiter\); use --kernels builtin"):
        open_kernels("aiter", device)


def test_opening_aiter_has_it_compile(device: hip.Device, stand_in: StandIn) -> None:
    """Protects the first point: AITER compiles for minutes at its first call, which would count as a kernel's time."""
    open_kernels("aiter", device)
    assert [run.policy for run in stand_in.runs] == [1, 2]


def test_aiter_that_does_not_compile_is_reported(
    device: hip.Device, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects whoever reads why: an error of AITER's own build is AITER's, before anything is timed."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[aiter] build [module_moe_sorting_opus] failed")

    assert stand_in.runs == []
    monkeypatch.setattr(sys.modules["aiter"], "moe_sorting_opus_fwd", fail)
    with pytest.raises(ProviderError, match=r"0\.1\.19 does not run \(RuntimeError: \[aiter\] build .* failed\)"):
        open_kernels("aiter", device)


def make_old_aiter(folder: Path) -> Path:
    """Make an AITER as of v0.1.13, whose sort takes no workspace."""
    ops = folder / "aiter" / "ops"
    ops.mkdir(parents=True)
    (ops.parent / "__init__.py").write_text("from aiter.ops.moe_sorting_opus import *\n")
    (ops / "moe_sorting_opus.py").write_text("def moe_sorting_opus_fwd(topk_ids, dispatch_policy=0): ...\n")
    return folder


@pytest.mark.parametrize("case", ["too old", "Triton only", "a folder"])
def test_aiter_that_cannot_be_measured_is_told_before_anything_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Protects the hours of a sweep: the builtin kernels are swept without it, and alone it is refused."""
    (tmp_path / "folder" / "aiter").mkdir(parents=True)
    monkeypatch.setenv("AITER_TRITON_ONLY", str(int(case == "Triton only")))
    path = {"too old": make_old_aiter(tmp_path / "old"), "Triton only": STAND_IN, "a folder": tmp_path / "folder"}[case]
    words = {
        "too old": "lacks moe_sorting_opus_get_workspace_size: install AITER v0.1.14 or newer",
        "Triton only": "was imported without moe_sorting_opus_get_workspace_size: unset AITER_TRITON_ONLY",
        "a folder": "AITER is not installed",
    }[case]
    table = tmp_path / "host.yaml"
    alone = _run_sweep(table, "aiter", path)
    assert (alone.returncode, table.exists()) == (1, False)
    assert words in alone.stderr
    assert "timing" not in alone.stderr
    both = _run_sweep(table, "all", path)
    assert both.returncode == 0, both.stderr
    assert [entry.kernels.provider for entry in store.load(table).tables] == ["builtin"]
    before, _, _ = both.stderr.partition("device: ")
    assert (words in before) == (case != "a folder")


def test_sweep_writes_rows_that_steer_aiter(stand_in: StandIn, tmp_path: Path) -> None:
    """Protects the whole way: a sweep of AITER's paths, an entry for AITER alone, and AITER going by it."""
    table = tmp_path / "host.yaml"
    _sweep(table)
    (entry,) = store.load(table).tables
    package = aiter_package.find()
    assert package is not None
    assert (entry.kernels.provider, entry.kernels.revision) == ("aiter", package.revision)
    (row,) = entry.rows
    assert row.get_limit("oneshot") == 2**24 - 1
    switch = row.policy[1][0]
    integration.install(table)
    for tokens in (switch - 1, switch):
        arguments = make_arguments(cases.make_uniform(tokens, 2, 8), torch.device("cpu"))
        stand_in.fused_moe.fused_moe(arguments["topk_ids"], arguments["topk_weights"], 8)
    assert [run.policy for run in stand_in.runs] == [1, 2]
    assert runtime.Dispatcher.load(table, kernels="builtin").entry is None


def _sweep(table: Path) -> None:
    answer = _run_sweep(table, "aiter", STAND_IN)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)[0]["provider"] == "aiter"


def _run_sweep(table: Path, kernels: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)]),
        "MOESORT_TUNE_RUNTIME": "host",
        "MOESORT_HOST_CHECK": "0",
        "MOESORT_HOST_CLOCK": CLOCK,
    }
    command = [
        *(sys.executable, "-m", "moesort_tune.cli.main", "sweep", "--kernels", kernels, "--arch", "host", "--json"),
        *("--experts", "8", "--topk", "2", "--tokens", "1:64", "--time-budget", "600", "--out", str(table)),
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("tokens", "num_experts", "topk", "policy"),
    [(16, 128, 4, 1), (20, 128, 4, 1), (21, 128, 4, 2), (32, 128, 4, 2), (1, 512, 10, 2)],
)
def test_published_figures_steer_aiter_where_they_are_named(
    tokens: int, num_experts: int, topk: int, policy: int
) -> None:
    """Protects those who cannot sweep yet: what was published for MI355X decides, whatever AITER's revision."""
    table = get_tables_folder() / "published" / "gfx950-aiter.yaml"
    dispatcher = runtime.Dispatcher.load(
        table, arch="gfx950", compute_units=256, kernels="aiter", revision="0.1.19-0123456789abcdef"
    )
    assert dispatcher.policy(tokens, num_experts, topk) == policy
    explained = dispatcher.explain(tokens, num_experts, topk)
    assert explained.row is not None
    assert "https://github.com/ROCm/aiter/pull/" in (explained.row.evidence.source or "")
