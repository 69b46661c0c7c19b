"""The align operators against the reference, through torch, with canaries behind the caller's own tensors."""

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import moesort_tune
from moesort_tune.device import hip, torch_streams
from moesort_tune.operator.align import fill_aligned, moe_align_block_size
from moesort_tune.operator.align_device import AlignDevice, check_pointers, get_align_device
from moesort_tune.operator.align_request import AlignRequest
from moesort_tune.operator.arguments import ArgumentError
from moesort_tune.operator.policies import KERNELS, POLICIES
from moesort_tune.operator.torch_device import NotReadyError, refuse_under_capture
from moesort_tune.sorting.align import AlignedOutputs, AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.arguments import AlignArguments
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.launches import KernelTooLargeError
from moesort_tune.sorting.problem import ProblemError
from tests.sorting import align_cases
from tests.sorting.align_cases import EDGES, AlignCase

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]

CANARY = -77
"""What lies behind outputs."""


def align(case: AlignCase, device: torch.device, **options: Any) -> tuple[torch.Tensor, ...]:
    """Call the operator with a case."""
    problem, inputs = case.problem, case.inputs
    expert_map = None if inputs.expert_map is None else torch.from_numpy(inputs.expert_map).to(device)
    return moe_align_block_size(
        torch.from_numpy(inputs.topk_ids).to(device),
        problem.block_size,
        problem.num_experts,
        expert_map,
        pad_sorted_ids=problem.pad_sorted_ids,
        ignore_invalid_experts=problem.ignore_invalid_experts,
        framework=problem.framework,
        **options,
    )


def check(outputs: tuple[torch.Tensor, ...], case: AlignCase) -> None:
    """Compare every element with the reference. Raise WrongOutputError."""
    names = ("sorted_token_ids", "expert_ids", "num_tokens_post_pad", "scatter_idx")
    arrays = {name: tensor.cpu().numpy().reshape(-1) for name, tensor in zip(names, outputs, strict=False)}
    expected = align_block_size(case.inputs, case.problem)
    check_outputs(AlignedOutputs(**arrays), expected, kernel="moe_align_block_size", shape=str(case.problem))


def fit(case: AlignCase, policy: int, device: torch.device) -> AlignCase:
    """Return the case with as many of its leading rows as the kernel of a dispatch_policy takes."""
    if policy not in KERNELS:
        return case
    sort = case.problem.sort
    limits = compute_limits(sort.num_experts, sort.topk, get_align_device(device).kernels.limits)
    rows = min(sort.rows, limits[KERNELS[policy]])
    inputs = replace(case.inputs, topk_ids=case.inputs.topk_ids[:rows])
    return replace(case, problem=replace(case.problem, rows=rows), inputs=inputs)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", EDGES)
def test_operator_is_exact_at_each_edge(torch_device: torch.device, policy: int, name: str) -> None:
    """Protects every output to its last element: maps, both widths of ids, both frameworks, repeats and bad ids."""
    case = fit(EDGES[name](), policy, torch_device)
    wants_index = case.inputs.expert_map is None or case.problem.ignore_invalid_experts
    check(align(case, torch_device, dispatch_policy=policy, return_scatter_idx=wants_index), case)


def test_readme_example_is_what_the_frameworks_document(torch_device: torch.device) -> None:
    """Protects the contract: the blocks of vLLM's own example, whose experts 1 to 4 have three tokens each."""
    ids = torch.tensor([[2, 3, 4], [1, 2, 4], [1, 3, 4], [1, 2, 3]], dtype=torch.int32, device=torch_device)
    sorted_token_ids, expert_ids, num_tokens_post_pad = moe_align_block_size(ids, 4, 5)
    assert sorted_token_ids[:16].tolist() == [3, 6, 9, 12, 0, 4, 10, 12, 1, 7, 11, 12, 2, 5, 8, 12]
    assert expert_ids[:4].tolist() == [1, 2, 3, 4]
    assert num_tokens_post_pad.tolist() == [16]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("framework", "pad"), [("vllm", False), ("vllm", True), ("sglang", False)])
def test_callers_tensors_are_filled_to_their_end_and_not_beyond(
    torch_device: torch.device, policy: int, framework: Any, pad: bool
) -> None:
    """Protects memory behind the outputs that a framework allocated at its own lengths."""
    for tokens in (1, 7, 40, 300):
        made = align_cases.make_uniform(tokens, 4, 33, 16, framework=framework, pad_sorted_ids=pad)
        case = fit(made, policy, torch_device)
        problem = case.problem
        lengths = (problem.capacity_rows, problem.capacity_blocks, 1, problem.pairs)
        whole = [torch.full((length + 64,), CANARY, dtype=torch.int32, device=torch_device) for length in lengths]
        *outputs, scatter_idx = [tensor[:length] for tensor, length in zip(whole, lengths, strict=True)]
        fill_aligned(
            torch.from_numpy(case.inputs.topk_ids).to(torch_device),
            problem.sort.num_experts,
            16,
            *outputs,
            scatter_idx=scatter_idx,
            first_id=problem.first_id,
            dispatch_policy=policy,
        )
        check((*outputs, scatter_idx), case)
        for tensor, length in zip(whole, lengths, strict=True):
            assert (tensor[length:] == CANARY).all()


@pytest.mark.parametrize(("tensor", "elements"), [("sorted_token_ids", 128), ("expert_ids", 8)])
def test_outputs_without_room_are_refused_before_anything_runs(
    torch_device: torch.device, tensor: str, elements: int
) -> None:
    """Protects memory: 8 pairs of 64 experts may need 8 blocks of 16, and one element less is refused."""
    ids = torch.zeros(4, 2, dtype=torch.int32, device=torch_device)
    lengths = {"sorted_token_ids": 128, "expert_ids": 8}

    def fill(**changed: int) -> dict[str, torch.Tensor]:
        made = {name: ids.new_full((length,), CANARY) for name, length in {**lengths, **changed}.items()}
        fill_aligned(ids, 64, 16, made["sorted_token_ids"], made["expert_ids"], ids.new_empty(1))
        return made

    assert fill()["expert_ids"][0] == 0
    with pytest.raises(ArgumentError, match=f"{tensor} must have {elements} to .* got {elements - 1}"):
        fill(**{tensor: elements - 1})


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "ids of another dtype": ({"topk_ids": torch.zeros(2, 2)}, ArgumentError, "topk_ids must be a contiguous int32"),
    "ids of one dimension": ({"topk_ids": torch.zeros(4, dtype=torch.int32)}, ArgumentError, r"\[rows, topk\]"),
    "ids that are no tensor": ({"topk_ids": [[0]]}, ArgumentError, "topk_ids must be a tensor"),
    "experts that are no integer": ({"num_experts": 8.0}, ArgumentError, "num_experts must be an integer, got 8.0"),
    "block of nothing": ({"block_size": 0}, ArgumentError, "block_size must be 1 to 1024, got 0"),
    "block too large": ({"block_size": 1025}, ArgumentError, "block_size must be 1 to 1024, got 1025"),
    "no experts": ({"num_experts": 0}, ArgumentError, "num_experts must be 1 to 1024, got 0"),
    "too many experts": ({"num_experts": 1025}, ArgumentError, "num_experts must be 1 to 1024, got 1025"),
    "too many experts beside -1": (
        {"num_experts": 1024, "framework": "sglang"}, ArgumentError, "num_experts must be 1 to 1023, got 1024"
    ),
    "more slots than experts": ({"num_experts": 1}, ProblemError, "topk must be 1 to 1, got 2"),
    "ids with gaps": (
        {"topk_ids": torch.zeros(2, 4, dtype=torch.int32)[:, ::2]}, ArgumentError, r"strides \[4, 2\]"
    ),
    "sparse ids": (
        {"topk_ids": torch.ones(2, 2, dtype=torch.int32).to_sparse()}, ArgumentError, "topk_ids must be a dense tensor"
    ),
    "map of another length": (
        {"expert_map": torch.zeros(7, dtype=torch.int32)}, ArgumentError, r"expert_map must have the shape \[8\]"
    ),
    "map of another dtype": ({"expert_map": torch.zeros(8)}, ArgumentError, "expert_map must be a contiguous int32"),
    "unknown framework": ({"framework": "other"}, ArgumentError, "framework must be 'vllm' or 'sglang'"),
    "map of SGLang": (
        {"framework": "sglang", "expert_map": torch.zeros(8, dtype=torch.int32)}, ArgumentError, "which has none"
    ),
    "index beside a map that keeps all": (
        {"expert_map": torch.zeros(8, dtype=torch.int32), "return_scatter_idx": True},
        ArgumentError,
        "needs ignore_invalid_experts",
    ),
    "unknown policy": ({"dispatch_policy": 9}, ArgumentError, "dispatch_policy must be 0"),
    "empty table": ({"table": ""}, ArgumentError, "table must be None or the path"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_argument_is_named(torch_device: torch.device, name: str) -> None:
    """Protects whoever calls it: the message says which argument, what it must be and what it was."""
    changed, error, message = WRONG[name]
    tensors = {key: value.to(torch_device) for key, value in changed.items() if isinstance(value, torch.Tensor)}
    ids = torch.zeros(2, 2, dtype=torch.int32, device=torch_device)
    with pytest.raises(error, match=message):
        moe_align_block_size(**{"topk_ids": ids, "block_size": 16, "num_experts": 8, **changed, **tensors})


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_ids_are_refused(torch_device: torch.device, layout: torch.layout) -> None:
    """Protects against torch's internal error: a nested tensor has no shape to ask for."""
    nested = torch.nested.nested_tensor([torch.zeros(2, dtype=torch.int32)] * 2, layout=layout, device=torch_device)
    with pytest.raises(ArgumentError, match=r"topk_ids must be a dense tensor .* got a nested one"):
        moe_align_block_size(nested, 16, 8)
    with pytest.raises(ArgumentError, match=r"topk_ids must be a dense tensor .* got a nested one"):
        fill_two_rows(torch_device, topk_ids=nested)


def fill_two_rows(device: torch.device, **changed: Any) -> dict[str, torch.Tensor]:
    """Call fill_aligned for two rows of two slots, 8 experts and blocks of 16, and return the outputs."""
    ids = torch.tensor([[0, 3], [3, 7]], dtype=torch.int32, device=device)
    lengths = {"sorted_token_ids": 64, "expert_ids": 4, "num_tokens_post_pad": 1}
    outputs = {name: ids.new_full((length,), CANARY) for name, length in lengths.items()}
    fill_aligned(**{"topk_ids": ids, "num_experts": 8, "block_size": 16, **outputs, **changed})
    return outputs


def make_without_storage(elements: int, device: torch.device) -> torch.Tensor:
    """Return an int32 tensor whose memory was given back."""
    tensor = torch.zeros(elements, dtype=torch.int32, device=device)
    tensor.untyped_storage().resize_(0)
    return tensor


WRONG_TO_FILL: dict[str, tuple[Any, str]] = {
    "first_id": (1, "first_id must be 0, or -1 for ids that begin with it, got 1"),
    "block_size": (-4, "block_size must be 1 to 1024, got -4"),
    "num_experts": (1 << 40, "num_experts must be 1 to 1024, got 1099511627776"),
    "sorted_token_ids": (None, "sorted_token_ids must be a contiguous int32 tensor, got None"),
    "num_tokens_post_pad": (torch.zeros(2, dtype=torch.int32), "num_tokens_post_pad must have 1 element, got 2"),
    "scatter_idx": (torch.zeros(3, dtype=torch.int32), "scatter_idx must have an element for each of 4 pairs, got 3"),
}


@pytest.mark.parametrize("name", WRONG_TO_FILL)
def test_wrong_argument_to_fill_is_named(torch_device: torch.device, name: str) -> None:
    """Protects the caller's memory: whatever is wrong is said before anything is launched."""
    value, message = WRONG_TO_FILL[name]
    changed = value.to(torch_device) if isinstance(value, torch.Tensor) else value
    with pytest.raises(ArgumentError, match=message):
        fill_two_rows(torch_device, **{name: changed})


@pytest.mark.parametrize(
    ("name", "elements"),
    [("sorted_token_ids", 64), ("expert_ids", 4), ("num_tokens_post_pad", 1), ("scatter_idx", 4), ("expert_map", 8)],
)
def test_tensor_without_memory_is_refused(torch_device: torch.device, name: str, elements: int) -> None:
    """Protects the process: a kernel that writes to address 0 would end every later call on a GPU."""
    assert fill_two_rows(torch_device)["expert_ids"].tolist() == [0, 3, 7, -1]
    with pytest.raises(ArgumentError, match=f"{name} must have memory of its own, got .*{elements}.* elements"):
        fill_two_rows(torch_device, **{name: make_without_storage(elements, torch_device)})


def test_ids_without_memory_are_refused(torch_device: torch.device) -> None:
    """Protects the process likewise, on the way through torch's dispatcher."""
    ids = make_without_storage(4, torch_device).view(2, 2)
    with pytest.raises(ArgumentError, match="topk_ids must have memory of its own"):
        moe_align_block_size(ids, 16, 8)
    with pytest.raises(ArgumentError, match="topk_ids must have memory of its own"):
        fill_two_rows(torch_device, topk_ids=ids)


def test_map_beside_sglangs_ids_is_refused(torch_device: torch.device) -> None:
    """Protects against a map that is read from the id -1 on: those ids are of one rank already."""
    expert_map = torch.zeros(8, dtype=torch.int32, device=torch_device)
    with pytest.raises(ArgumentError, match="expert_map must not be given with first_id=-1"):
        fill_two_rows(torch_device, first_id=-1, expert_map=expert_map)


def test_lazily_negated_ids_are_read_as_what_they_stand_for(torch_device: torch.device) -> None:
    """Protects against the numbers that lie in memory."""
    negated = torch._neg_view(torch.tensor([[0, -3], [-3, -7]], dtype=torch.int32, device=torch_device))
    assert moe_align_block_size(negated, 16, 8)[1][:3].tolist() == [0, 3, 7]
    assert fill_two_rows(torch_device, topk_ids=negated)["expert_ids"].tolist() == [0, 3, 7, -1]


def test_lazily_negated_map_is_read_and_outputs_are_refused(torch_device: torch.device) -> None:
    """Protects experts and results from the signs that lie in memory."""
    expert_map = torch._neg_view(torch.tensor([0, -7], dtype=torch.int32, device=torch_device))
    ids = torch.tensor([[0, 1]], dtype=torch.int32, device=torch_device)
    assert moe_align_block_size(ids, 2, 2, expert_map)[1].tolist() == [0, 7]
    output = torch._neg_view(torch.zeros(64, dtype=torch.int32, device=torch_device))
    with pytest.raises(ArgumentError, match="sorted_token_ids must not be a lazily negated tensor"):
        fill_two_rows(torch_device, sorted_token_ids=output)


def test_equal_calls_give_equal_outputs(torch_device: torch.device) -> None:
    """Protects the promise of a stable order where the table changes the kernel between two calls."""
    ids = torch.from_numpy(align_cases.make_repeats(align_cases.make_uniform(60, 2, 32)).inputs.topk_ids)
    first, *others = [
        moe_align_block_size(ids.to(torch_device), 64, 32, dispatch_policy=policy) for policy in (1, 1, 2, 2, 0)
    ]
    for other in others:
        assert all(torch.equal(one, another) for one, another in zip(first, other, strict=True))


def test_kernel_that_does_not_take_the_problem_is_refused(torch_device: torch.device) -> None:
    """Protects a pinned policy: the message names the most tokens, and no other kernel takes its place."""
    ids = torch.zeros(4096, 8, dtype=torch.int32, device=torch_device)
    with pytest.raises(KernelTooLargeError, match="wave takes at most"):
        moe_align_block_size(ids, 32, 128, dispatch_policy=3)


@pytest.mark.parametrize("options", [(False, False, "vllm"), (True, True, "vllm"), (False, True, "sglang")])
def test_align_operator_passes_opcheck(torch_device: torch.device, options: tuple[bool, bool, str]) -> None:
    """Protects torch.compile: schema, fake implementation and AOT tracing agree with what the operator does."""
    pad, index, framework = options
    ids = torch.from_numpy(align_cases.make_uniform(9, 4, 8).inputs.topk_ids).to(torch_device)
    expert_map = None if framework == "sglang" else torch.arange(8, dtype=torch.int32, device=torch_device)
    arguments = (ids, 16, 8, expert_map, pad, True, index, framework, 0, None)
    torch.library.opcheck(torch.ops.moesort_tune.moe_align_block_size.default, arguments)


def test_filling_operator_passes_opcheck(torch_device: torch.device) -> None:
    """Protects compiled callers: the schema names every tensor that is written."""
    case = align_cases.make_uniform(9, 4, 8, 16)
    ids = torch.from_numpy(case.inputs.topk_ids).to(torch_device)
    outputs = [ids.new_empty(n) for n in (case.problem.capacity_rows, case.problem.capacity_blocks, 1)]
    arguments = (ids, 8, 16, *outputs, None, ids.new_empty(36), 0, True, 0, None)
    torch.library.opcheck(torch.ops.moesort_tune.fill_aligned.default, arguments)


def test_compiled_function_aligns_at_every_size(torch_device: torch.device) -> None:
    """Protects a compiled model: a graph without breaks aligns batches of other sizes, in new and in given tensors."""

    def both(ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = moe_align_block_size(ids, 16, 32)
        given = [torch.empty_like(tensor) for tensor in made]
        fill_aligned(ids, 32, 16, given[0], given[1], given[2])
        return (*made, *given)

    compiled = torch.compile(both, backend="aot_eager", fullgraph=True, dynamic=True)
    for tokens in (5, 64, 130):
        case = align_cases.make_uniform(tokens, 4, 32, 16)
        outputs = compiled(torch.from_numpy(case.inputs.topk_ids).to(torch_device))
        check(outputs[:3], case)
        check(outputs[3:], case)


def test_fake_outputs_of_an_alignment_have_the_shapes_of_real_ones(torch_device: torch.device) -> None:
    """Protects the compiler's memory planning, with fewer and with more pairs than experts."""
    for tokens in (3, 37):
        ids = torch.zeros(tokens, 2, dtype=torch.int64, device=torch_device)
        real = moe_align_block_size(ids, 16, 20, return_scatter_idx=True)
        fake = moe_align_block_size(ids.to("meta"), 16, 20, return_scatter_idx=True)
        assert [(one.shape, one.dtype) for one in fake] == [(one.shape, one.dtype) for one in real]


@pytest.mark.parametrize("policy", POLICIES)
def test_watched_call_aligns_too(torch_device: torch.device, policy: int) -> None:
    """Protects traced calls: under a mode the call goes the long way, to the same outputs."""
    case = fit(align_cases.make_uniform(40, 4, 32), policy, torch_device)
    with FlopCounterMode(display=False):
        outputs = align(case, torch_device, dispatch_policy=policy)
    check(outputs, case)


@pytest.mark.parametrize("policy", POLICIES)
def test_captured_alignment_reads_its_ids_at_each_replay(torch_device: torch.device, policy: int) -> None:
    """Protects decode graphs: a capture only launches, and a replay sorts what the ids are by then."""
    first = fit(align_cases.make_uniform(24, 4, 32), policy, torch_device)
    ids = torch.from_numpy(first.inputs.topk_ids).to(torch_device)
    moe_align_block_size(ids, 32, 32, dispatch_policy=policy)
    device = get_align_device(torch_device).kernels.device
    with device.create_stream() as stream, torch_streams.use(stream, torch_device) as kept:
        outputs: list[torch.Tensor] = []

        def enqueue(_: hip.Stream) -> None:
            outputs[:] = moe_align_block_size(ids, 32, 32, dispatch_policy=policy)

        with device.capture(stream, enqueue) as graph:
            second = align_cases.set_ids(first, (first.inputs.topk_ids + 5) % 32)
            ids.copy_(torch.from_numpy(second.inputs.topk_ids))
            graph.launch(stream)
            stream.synchronize()
        check(tuple(outputs), second)
        assert len(kept) <= 1


def test_first_call_under_capture_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a graph that would be broken by compiling: the message says what to do."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(NotReadyError, match=r"moe_align_block_size was called for the first time.* before capturing"):
        refuse_under_capture(torch.device("cuda", 0), "moe_align_block_size")


def test_width_of_ids_that_is_not_loaded_is_refused_under_capture(torch_device: torch.device) -> None:
    """Protects a graph that int64 ids would break where only int32 ones were aligned before."""
    opened = AlignDevice(torch_device)
    case = align_cases.make_uniform(9, 2, 8, 16)
    problem = case.problem
    device = opened.kernels.device

    ids = torch.from_numpy(case.inputs.topk_ids.astype(np.int64)).to(torch_device)
    lengths = (problem.capacity_rows, problem.capacity_blocks, 1)
    made = [torch.empty(length, dtype=torch.int32, device=torch_device) for length in lengths]

    def align_wide(_: hip.Stream) -> None:
        opened.align(AlignRequest(ids, 8, 16, *made))

    with device.create_stream() as stream, torch_streams.use(stream, torch_device):
        with pytest.raises(NotReadyError, match=r"first time with int64 ids on .* call it once before capturing"):
            device.capture(stream, align_wide)
        align_wide(stream)
        stream.synchronize()
    assert opened.kernels.is_loaded(64)
    assert not opened.kernels.is_loaded(32)


def test_pointers_apart_are_noticed_at_import() -> None:
    """Protects the one assignment of all pointers, which under another layout would be other arguments."""

    class Apart(ctypes.Structure):
        _fields_ = (*AlignArguments._fields_[:3], ("between", ctypes.c_void_p), *AlignArguments._fields_[3:])

    with pytest.raises(TypeError, match="Apart must have the pointers expert_map, sorted_token_ids"):
        check_pointers(Apart)


def test_package_offers_the_align_operators() -> None:
    """Protects the documented names."""
    assert moesort_tune.moe_align_block_size is moe_align_block_size
    assert moesort_tune.fill_aligned is fill_aligned


def test_no_rows_need_no_blocks(torch_device: torch.device) -> None:
    """Protects an empty batch, which every framework meets at its end."""
    ids = torch.empty(0, 4, dtype=torch.int32, device=torch_device)
    sorted_token_ids, expert_ids, num_tokens_post_pad = moe_align_block_size(ids, 16, 8)
    problem = AlignProblem(0, 4, 8, 16)
    assert [*sorted_token_ids.shape, *expert_ids.shape] == [problem.capacity_rows, problem.capacity_blocks]
    assert num_tokens_post_pad.tolist() == [0]
    check(
        (sorted_token_ids, expert_ids, num_tokens_post_pad),
        AlignCase(problem, AlignInputs(np.empty((0, 4), np.int32))),
    )
