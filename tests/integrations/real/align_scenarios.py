"""Alignments in processes of their own, by vLLM's and SGLang's own Python functions. All answers are JSON."""

import functools
import importlib
import os
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from moesort_tune.integrations import align, sglang, vllm
from moesort_tune.integrations.align_switch import SGLANG, VARIABLE
from moesort_tune.sorting.align import AlignedOutputs, align_block_size
from moesort_tune.sorting.check import check_outputs
from tests.integrations import reference_operators
from tests.integrations.align_frameworks import CANARY
from tests.integrations.real.bare_packages import add_bare_package
from tests.sorting.align_cases import AlignCase, make_bad_ids, make_uniform, set_map, set_wide

NAMES = ("sorted_token_ids", "expert_ids", "num_tokens_post_pad", "scatter_idx")

VLLM_CASES: dict[str, Callable[[], AlignCase]] = {
    "decode": lambda: make_uniform(8, 4, 32, 16),
    "fewer pairs than experts": lambda: make_uniform(8, 4, 128, 16),
    "prefill": lambda: make_uniform(300, 8, 64, 64),
    "wide ids": lambda: set_wide(make_uniform(40, 2, 9, 8)),
    "padded": lambda: make_uniform(20, 6, 33, 48, pad_sorted_ids=True),
    "experts of other ranks": lambda: set_map(make_uniform(65, 6, 128, 16)),
    "experts of other ranks dropped": lambda: set_map(make_uniform(65, 6, 128, 16, ignore_invalid_experts=True)),
    "ids that are no expert's": lambda: make_bad_ids(make_uniform(30, 4, 16, 16)),
    "every expert in each row": lambda: make_uniform(2256, 32, 32, 128, pad_sorted_ids=True),
    "wide ids of no expert and of other ranks": lambda: set_wide(
        set_map(make_bad_ids(make_uniform(1024, 4, 256, 32, ignore_invalid_experts=True)))
    ),
}

SGLANG_CASES: dict[str, Callable[[], AlignCase]] = {
    "few pairs of many experts": lambda: make_uniform(8, 4, 128, 16, framework="sglang"),
    "few experts": lambda: make_uniform(8, 4, 32, 16, framework="sglang"),
    "many pairs": lambda: make_uniform(300, 8, 128, 64, framework="sglang"),
    "other ranks ignored": lambda: make_uniform(12, 4, 128, 16, framework="sglang", ignore_invalid_experts=True),
}


@contextmanager
def allocate_with_canaries() -> Iterator[Callable[[], int]]:
    """Have torch.empty put canaries behind each tensor of integers. Yield a function that returns how many are gone."""
    plain, behind = torch.empty, list[torch.Tensor]()

    def empty(size: Any, **options: Any) -> torch.Tensor:
        wanted = torch.Size([size] if isinstance(size, int) else size)
        if options.get("dtype") is not torch.int32:
            return plain(wanted, **options)
        whole = torch.full((wanted.numel() + 64,), CANARY, **options)
        behind.append(whole[wanted.numel() :])
        return whole[: wanted.numel()].view(wanted)

    with mock.patch.object(torch, "empty", empty):
        yield lambda: sum(int((tensor != CANARY).sum()) for tensor in behind) if behind else -1


def align_in_vllm(folder: Path, *, vllm: str) -> dict[str, Any]:
    """Return for each case how many canaries are gone and which kernel did it, by vLLM's moe_align_block_size."""
    del folder
    import_vllm(vllm)
    function = importlib.import_module("vllm.model_executor.layers.fused_moe.moe_align_block_size").moe_align_block_size

    def run(case: AlignCase) -> tuple[torch.Tensor, ...]:
        problem, given = case.problem, case.inputs.expert_map
        mapped = given is not None and not problem.ignore_invalid_experts
        outputs: tuple[torch.Tensor, ...] = function(
            torch.from_numpy(case.inputs.topk_ids),
            problem.block_size,
            problem.num_experts,
            None if given is None else torch.from_numpy(given),
            pad_sorted_ids=problem.pad_sorted_ids,
            ignore_invalid_experts=problem.ignore_invalid_experts,
            return_scatter_idx=not mapped,
        )
        return outputs

    return {name: _try(make(), run) for name, make in VLLM_CASES.items()} | {"counts": _sum_counts()}


def align_in_sglang(folder: Path, *, sglang: str) -> dict[str, Any]:
    """Return the same by SGLang's moe_align_block_size, on a platform that is CUDA as far as it can tell."""
    del folder
    import_sglang(sglang)
    function = importlib.import_module(SGLANG.module).moe_align_block_size

    def run(case: AlignCase) -> tuple[torch.Tensor, ...]:
        problem = case.problem
        ids = torch.from_numpy(case.inputs.topk_ids)
        outputs: tuple[torch.Tensor, ...] = function(
            ids, problem.block_size, problem.num_experts, problem.ignore_invalid_experts
        )
        return outputs

    answers: dict[str, Any] = {name: _try(make(), run) for name, make in SGLANG_CASES.items()}
    few = torch.from_numpy(SGLANG_CASES["few pairs of many experts"]().inputs.topk_ids)
    before = len(reference_operators.runs.pairs)
    function(few, 16, 128, return_inactive_prefix_count=True)
    answers["inactive prefix"] = len(reference_operators.runs.pairs) - before
    return answers | {"counts": _sum_counts()}


def _try(case: AlignCase, run: Callable[[AlignCase], tuple[torch.Tensor, ...]]) -> dict[str, int]:
    """Align a case, and compare every element. Raise WrongOutputError."""
    before = len(reference_operators.runs.pairs)
    with allocate_with_canaries() as count_gone:
        outputs = run(case)
        gone = count_gone()
    expected = align_block_size(case.inputs, case.problem)
    arrays: dict[str, Any] = {name: out.numpy().reshape(-1) for name, out in zip(NAMES, outputs, strict=False)}
    if case.inputs.expert_map is not None and not case.problem.ignore_invalid_experts:
        used = int(arrays["num_tokens_post_pad"][0]) // case.problem.block_size
        arrays["expert_ids"][used:] = -1  # vLLM looks the tail up in the map, where -1 is the last expert
    check_outputs(AlignedOutputs(**arrays), expected, kernel="moe_align_block_size", shape=str(case.problem))
    return {"canaries gone": gone, "theirs": len(reference_operators.runs.pairs) - before}


def _sum_counts() -> dict[str, dict[str, int]]:
    return {name: dict(reasons) for name, reasons in align.counts().items()}


def import_vllm(sources: str) -> None:
    """Make vLLM's modules that align importable, and call the plugin. Their compiled operator is the reference's."""
    os.environ[VARIABLE] = "1"
    folder = f"{sources}/vllm"
    platform = types.SimpleNamespace(import_kernels=lambda: None, is_xpu=lambda: False, is_cuda=lambda: True)
    add_bare_package("vllm", folder, __version__="real")
    add_bare_package("vllm.logger", init_logger=lambda _: None)
    add_bare_package("vllm.platforms", current_platform=platform)
    add_bare_package("vllm.utils", f"{folder}/utils")
    add_bare_package("vllm.utils.flashinfer", flashinfer_quant_nvfp4_8x4_sf_layout=None)
    add_bare_package("vllm.triton_utils", triton=types.SimpleNamespace(cdiv=lambda a, b: -(-a // b)))
    for name in ("model_executor", "model_executor/layers", "model_executor/layers/fused_moe"):
        add_bare_package(f"vllm.{name.replace('/', '.')}", f"{folder}/{name}")
    _keep(reference_operators.define("_moe_C"))
    vllm.register()


@functools.cache
def _keep(library: torch.library.Library) -> torch.library.Library:
    """Keep a definition of operators as long as the process."""
    return library


def import_sglang(sources: str) -> None:
    """Make SGLang's module that aligns importable, and call the plugin. Its kernels are the stand-in's."""
    os.environ[VARIABLE] = "1"
    folder = f"{sources}/sglang"
    kernels = _take_stand_in_kernels()
    add_bare_package("triton", cdiv=lambda a, b: -(-a // b))
    add_bare_package("sglang", folder, __version__="real")
    add_bare_package("sglang.srt", f"{folder}/srt")
    platforms = ("cuda", "hip", "musa", "xpu")
    add_bare_package("sglang.srt.utils", **{f"is_{name}": (lambda name=name: name == "cuda") for name in platforms})
    for name in ("layers", "layers/moe", "layers/moe/moe_runner", "layers/moe/moe_runner/triton_utils"):
        add_bare_package(f"sglang.srt.{name.replace('/', '.')}", f"{folder}/srt/{name}")
    add_bare_package("sglang.kernels")
    add_bare_package("sglang.kernels.ops")
    add_bare_package("sglang.kernels.ops.moe", moe_align_block_size=kernels.sgl_moe_align_block_size)
    add_bare_package(
        "sglang.kernels.ops.moe.moe_align_small_numel",
        SMALL_NUMEL_LIMIT=kernels.SMALL_NUMEL_LIMIT,
        moe_align_small_numel=kernels.moe_align_small_numel,
    )
    sglang.register()


def _take_stand_in_kernels() -> Any:
    """Return the stand-in's module, imported under another name than SGLang's."""
    from tests.integrations.align_frameworks import ALIGN_STAND_IN

    file = ALIGN_STAND_IN / f"{SGLANG.module.replace('.', '/')}.py"
    loader = importlib.machinery.SourceFileLoader("sglang_stand_in", str(file))
    spec = importlib.util.spec_from_loader("sglang_stand_in", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
