"""Alignments of vLLM and SGLang by this package's kernels: exact, within the caller's tensors, or left as they are."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from moesort_tune.device import hip
from moesort_tune.integrations import align, align_hook, sglang, vllm
from moesort_tune.integrations.align_switch import SGLANG, VLLM
from moesort_tune.operator import align as operator
from moesort_tune.operator.torch_device import NotReadyError
from tests.integrations.align_frameworks import TAKEN, Frameworks
from tests.sorting.align_cases import AlignCase, make_bad_ids, make_uniform, set_map, set_wide

pytestmark = pytest.mark.gpu

LEFT = "left to the framework: "

VLLM_CASES: dict[str, Callable[[], AlignCase]] = {
    "one token": lambda: make_uniform(1, 4, 128, 16),
    "decode": lambda: make_uniform(8, 4, 128, 16),
    "prefill": lambda: make_uniform(300, 8, 64, 64),
    "wide ids": lambda: set_wide(make_uniform(40, 2, 9, 8)),
    "padded": lambda: make_uniform(20, 6, 33, 48, pad_sorted_ids=True),
    "experts of other ranks dropped": lambda: set_map(make_uniform(65, 6, 128, 16, ignore_invalid_experts=True)),
    "ids that are no expert's": lambda: make_bad_ids(make_uniform(30, 4, 16, 16)),
}

SGLANG_CASES: dict[str, Callable[[], AlignCase]] = {
    "few pairs of many experts": lambda: make_sglang(8, 4, 128, 16),
    "few experts": lambda: make_sglang(8, 4, 32, 16),
    "many pairs": lambda: make_sglang(300, 8, 128, 64),
    "pairs of other ranks": lambda: mark_other_ranks(make_sglang(12, 4, 128, 16)),
    "pairs of other ranks ignored": lambda: mark_other_ranks(make_sglang(12, 4, 128, 16, ignore_invalid_experts=True)),
    "ids beyond the experts": lambda: mark_beyond(make_sglang(12, 4, 128, 16, ignore_invalid_experts=True)),
}


class Traced(torch.Tensor):  # type: ignore[misc]
    """A tensor of a kind of its own, as tracing has them."""


def make_sglang(*sizes: int, **options: Any) -> AlignCase:
    """Return a case at SGLang's lengths."""
    return make_uniform(*sizes, framework="sglang", **options)


def mark_other_ranks(case: AlignCase) -> AlignCase:
    """Return the case with the id -1 for each odd expert."""
    ids = case.inputs.topk_ids.copy()
    ids[ids % 2 == 1] = -1
    return replace(case, inputs=replace(case.inputs, topk_ids=ids))


def mark_beyond(case: AlignCase) -> AlignCase:
    """Return the case with the first id that is no expert's in the first slot of each row."""
    ids = case.inputs.topk_ids.copy()
    ids[:, 0] = case.problem.num_experts
    return replace(case, inputs=replace(case.inputs, topk_ids=ids))


@pytest.fixture
def reasons(frameworks: Frameworks) -> Callable[[], dict[str, int]]:
    """Have vLLM's plugin called. Return a function that returns the counts of its alignments."""
    del frameworks
    vllm.register()
    return lambda: dict(align.counts()[VLLM.function])


@pytest.mark.parametrize("name", VLLM_CASES)
def test_vllms_tensors_are_filled_and_nothing_behind_them(
    frameworks: Frameworks, reasons: Callable[[], dict[str, int]], name: str
) -> None:
    """Protects vLLM's memory and results: every element of its own lengths is right, and its kernel is not called."""
    frameworks.call_vllm(VLLM_CASES[name]())
    assert frameworks.theirs == []
    assert reasons() == {TAKEN: 1}


@pytest.mark.parametrize("name", SGLANG_CASES)
def test_sglangs_function_returns_what_it_did(frameworks: Frameworks, name: str) -> None:
    """Protects SGLang's results: both kernels of its choice, the bucket of other ranks, and without it."""
    sglang.register()
    frameworks.call_sglang(SGLANG_CASES[name]())
    assert frameworks.theirs == []
    assert align.counts() == {SGLANG.function: {TAKEN: 1}}


def test_counts_of_inactive_blocks_stay_sglangs(frameworks: Frameworks) -> None:
    """Protects calls that want more than an alignment: the framework's kernel writes a second count."""
    sglang.register()
    case = make_sglang(8, 4, 128, 16)
    frameworks.call_sglang(case, return_inactive_prefix_count=True)
    assert frameworks.theirs == [32]
    assert align.counts() == {SGLANG.function: {f"{LEFT}unknown argument write_inactive_prefix_count": 1}}


def test_unpadded_outputs_stay_sglangs(frameworks: Frameworks) -> None:
    """Protects callers that fill the outputs by themselves before."""
    sglang.register()
    case = make_sglang(8, 4, 32, 16)
    ids = frameworks.copy(case.inputs.topk_ids)
    made = [ids.new_empty(length) for length in (case.problem.capacity_rows, case.problem.capacity_blocks, 1, 34)]
    frameworks.sglang.sgl_moe_align_block_size(ids, 33, 16, *made)
    assert frameworks.theirs == [32]
    assert align.counts() == {SGLANG.function: {f"{LEFT}outputs without padding": 1}}


def test_what_the_kernels_do_not_take_is_the_frameworks(
    frameworks: Frameworks, reasons: Callable[[], dict[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """Protects ids of other types: the framework aligns them from the same arguments, and the log says so once."""
    case = make_uniform(8, 4, 32, 16)
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        for _ in range(3):
            frameworks.call_vllm(case, topk_ids=frameworks.copy(case.inputs.topk_ids).to(torch.int16))
    assert frameworks.theirs == [32] * 3
    assert reasons() == {f"{LEFT}not supported by the kernels": 3}
    (record,) = caplog.records
    assert record.message.startswith(
        "the kernels of moesort-tune do not do an alignment of 32 experts, topk 4 for vLLM"
    )
    assert "topk_ids must be a contiguous int32 or int64 tensor" in record.message


def test_each_reason_is_warned_of_once(
    frameworks: Frameworks, reasons: Callable[[], dict[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the log of a server: two reasons over many calls and shapes are two lines."""
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        for tokens in (1, 2, 3):
            case = make_uniform(tokens, 4, 32, 16)
            ids = frameworks.copy(case.inputs.topk_ids)
            frameworks.call_vllm(case, topk_ids=ids.to(torch.int16))
            frameworks.call_vllm(case, topk_ids=ids.as_subclass(Traced))
    assert reasons() == {f"{LEFT}not supported by the kernels": 3, f"{LEFT}tensors without memory": 3}
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("error", "reason", "tries"),
    [
        (NotReadyError("captured"), "the kernels were not loaded before capture", 2),
        (hip.HipError("hipLaunchKernel", 1, "broken"), "the kernels cannot be used", 1),
        (RuntimeError("a mistake"), "unexpected error", 2),
    ],
)
def test_our_errors_never_reach_the_caller(
    *,
    frameworks: Frameworks,
    reasons: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    reason: str,
    tries: int,
) -> None:
    """Protects serving from this package: the framework aligns, one line says why, a broken device is left alone."""
    tried: list[int] = []

    def fail(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise error

    monkeypatch.setattr(operator, "fill_aligned", fail)
    with caplog.at_level(logging.WARNING, logger="moesort_tune"):
        for _ in range(2):
            frameworks.call_vllm(make_uniform(8, 4, 32, 16))
    assert frameworks.theirs == [32, 32]
    assert reasons() == {LEFT + reason: 2}
    assert len(tried) == tries
    assert len(caplog.records) == 1


def test_the_frameworks_own_errors_reach_the_caller(
    frameworks: Frameworks, reasons: Callable[[], dict[str, int]]
) -> None:
    """Protects debugging: a call that does not fit ends with the framework's message, as without this package."""
    with pytest.raises(TypeError, match="missing 5 required positional arguments"):
        frameworks.vllm.moe_align_block_size(torch.zeros(1, 1, dtype=torch.int32))
    assert reasons() == {f"{LEFT}arguments that do not fit": 1}


def test_kernels_are_not_loaded_under_capture(
    frameworks: Frameworks, reasons: Callable[[], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects graphs: the first call of each width of ids is outside of a capture, or the framework's."""
    capturing = [True]
    monkeypatch.setattr(align_hook, "_is_captured", lambda _: capturing[0])
    case = make_uniform(8, 4, 32, 16)
    frameworks.call_vllm(case)
    capturing[0] = False
    frameworks.call_vllm(case)
    capturing[0] = True
    frameworks.call_vllm(case)
    frameworks.call_vllm(set_wide(case))
    assert frameworks.theirs == [32, 32]
    assert reasons() == {f"{LEFT}the kernels were not loaded before capture": 2, TAKEN: 2}


def test_compiler_sees_the_frameworks_operator(frameworks: Frameworks, reasons: Callable[[], dict[str, int]]) -> None:
    """Protects torch.compile: a trace neither breaks nor holds a call of this package."""
    ops = frameworks.vllm
    case = make_uniform(8, 4, 32, 16)
    targets: list[str] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        targets.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    @torch.compile(backend=keep, fullgraph=True)  # type: ignore[untyped-decorator]
    def run(ids: torch.Tensor) -> torch.Tensor:
        outputs = [ids.new_empty(length) for length in (case.problem.capacity_rows, case.problem.capacity_blocks, 1)]
        ops.moe_align_block_size(ids, 32, 16, *outputs)
        return outputs[2]

    assert run(frameworks.copy(case.inputs.topk_ids)).item() > 0
    assert "moesort_stand_in.moe_align_block_size" in targets
    assert frameworks.theirs == [32]
    assert reasons() == {}
