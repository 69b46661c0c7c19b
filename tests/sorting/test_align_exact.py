"""Every kernel in the align form against the reference: every element of every output, and what lies behind it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.align import AlignInputs, AlignProblem, FrameworkName, align_block_size
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.problem import ProblemError
from tests.sorting import align_cases
from tests.sorting.align_cases import EDGES, AlignCase

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def align_kernels(device: hip.Device) -> AlignKernels:
    """Return the kernels in the align form, loaded on `device`."""
    return AlignKernels(device)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", EDGES)
def test_alignment_is_exact_at_each_edge(align_kernels: AlignKernels, kernel: KernelName, name: str) -> None:
    """Protects maps, both widths of ids, both frameworks, repeats and bad ids."""
    EDGES[name]().check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("tokens", [0, 1, 7, 31, 32, 33, 63, 64, 65, 255, 256, 257])
@pytest.mark.parametrize(("num_experts", "topk"), [(1, 1), (8, 2), (40, 6), (128, 4), (257, 9), (385, 7)])
def test_alignment_is_exact_for_ordinary_shapes(
    align_kernels: AlignKernels, kernel: KernelName, tokens: int, num_experts: int, topk: int
) -> None:
    """Protects every output at the edges of words, waves and passes."""
    align_cases.make_uniform(tokens, topk, num_experts).check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("tokens", [1, 256, 2256, 4096])
@pytest.mark.parametrize(("num_experts", "topk"), [(32, 32), (160, 16), (257, 32)])
def test_alignment_is_exact_for_prefills_with_many_slots(
    align_kernels: AlignKernels, kernel: KernelName, tokens: int, num_experts: int, topk: int
) -> None:
    """Protects up to 131072 pairs, and rows that name every expert: the largest sizes of vLLM's own test."""
    for block_size in (32, 128):
        align_cases.make_uniform(tokens, topk, num_experts, block_size).check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("block_size", [1, 5, 16, 64, 128])
@pytest.mark.parametrize("beside", [-1, 0, 1])
@pytest.mark.parametrize("framework", ["vllm", "sglang"])
def test_alignment_is_exact_beside_a_whole_block(
    align_kernels: AlignKernels, kernel: KernelName, block_size: int, beside: int, framework: FrameworkName
) -> None:
    """Protects the last row of a block, and where the tail begins: one expert has a block, one more or one less."""
    rows = max(1, block_size + beside)
    for pad in (False, True):
        case = align_cases.make_uniform(rows, 2, 3, block_size, framework=framework, pad_sorted_ids=pad)
        align_cases.make_hot_expert(case).check(align_kernels, kernel)
        case.check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", ["wave", "oneshot"])
@pytest.mark.parametrize("beside", [-1, 0, 1])
@pytest.mark.parametrize(("num_experts", "topk"), [(1024, 2), (70, 4)])
def test_alignment_is_exact_at_the_limits(
    align_kernels: AlignKernels, kernel: KernelName, beside: int, num_experts: int, topk: int
) -> None:
    """Protects the most tokens of wave and oneshot, and what other kernels do with them."""
    tokens = compute_limits(num_experts, topk, align_kernels.limits)[kernel] + beside
    case = align_cases.make_uniform(tokens, topk, num_experts)
    for other in KERNELS:
        case.check(align_kernels, other)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("tail_expert", [-1, 0])
@pytest.mark.parametrize("tokens", [5, 100, 1500])
def test_both_modes_of_other_ranks_experts_are_exact(
    align_kernels: AlignKernels, kernel: KernelName, ignore: bool, tail_expert: int, tokens: int
) -> None:
    """Protects expert parallelism: experts of other ranks have blocks of expert -1, or none; repeats included."""
    case = align_cases.make_uniform(tokens, 4, 33, ignore_invalid_experts=ignore, tail_expert=tail_expert)
    mapped = align_cases.set_map(case, ranks=3)
    mapped.check(align_kernels, kernel)
    align_cases.make_repeats(mapped).check(align_kernels, kernel)
    align_cases.set_wide(align_cases.make_bad_ids(mapped)).check(align_kernels, kernel)
    nowhere = replace(mapped, inputs=replace(mapped.inputs, expert_map=np.full(33, -1, np.int32)))
    nowhere.check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_permuted_map_names_the_blocks(align_kernels: AlignKernels, kernel: KernelName) -> None:
    """Protects maps in any order, and with one id for two experts: blocks stay in the order of topk_ids."""
    permuted = np.random.default_rng(1).permutation(40).astype(np.int32)
    for ignore in (False, True):
        case = align_cases.make_uniform(60, 4, 40, ignore_invalid_experts=ignore)
        for expert_map in (permuted, permuted // 2, permuted // 2 - 1):
            replace(case, inputs=replace(case.inputs, expert_map=expert_map)).check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_scatter_idx_is_not_needed(align_kernels: AlignKernels, kernel: KernelName) -> None:
    """Protects the usual call, which does not ask for it."""
    replace(align_cases.make_uniform(130, 4, 32), scatter_idx=False).check(align_kernels, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("framework", ["vllm", "sglang"])
def test_sglang_gives_rows_to_the_id_below_zero(
    align_kernels: AlignKernels, kernel: KernelName, framework: FrameworkName
) -> None:
    """Protects SGLang's convention: pairs of -1 fill the first blocks, of expert -1; vLLM drops them."""
    ids = np.array([[-1, 1], [0, -1]], np.int32)
    problem = AlignProblem(2, 2, 2, 4, framework=framework)
    with align_kernels.prepare(problem, AlignInputs(ids)) as prepared:
        stream = align_kernels.device.create_stream()
        prepared.spoil()
        prepared.launch(kernel, stream)
        stream.synchronize()
        outputs = prepared.read_outputs()
    blocks = [[2, 4, 4, 4], [1, 4, 4, 4]]
    experts = [0, 1]
    if framework == "sglang":
        blocks, experts = [[0, 3, 4, 4], *blocks], [-1, *experts]
    rows = [row for block in blocks for row in block]
    assert outputs.num_tokens_post_pad.tolist() == [len(rows)]
    assert outputs.sorted_token_ids.tolist() == rows + [4] * (problem.capacity_rows - len(rows))
    assert outputs.expert_ids.tolist() == experts + [-1] * (problem.capacity_blocks - len(experts))


@pytest.mark.parametrize("kernel", KERNELS)
def test_graph_replays_with_other_ids(align_kernels: AlignKernels, kernel: KernelName) -> None:
    """Protects serving: one captured graph aligns whatever stands in topk_ids."""
    case = align_cases.make_uniform(60, 2, 32)
    others = align_cases.make_repeats(case)
    stream = align_kernels.device.create_stream()
    with align_kernels.prepare(case.problem, case.inputs) as prepared:
        prepared.prepare_launches(kernel)
        graph = align_kernels.device.capture(stream, lambda stream: prepared.launch(kernel, stream))
        for inputs in (case.inputs, others.inputs, case.inputs):
            prepared.set_ids(inputs.topk_ids)
            prepared.spoil()
            graph.launch(stream)
            stream.synchronize()
            expected = align_block_size(inputs, case.problem)
            check_outputs(prepared.read_outputs(), expected, kernel=kernel, shape=str(case.problem))
        graph.destroy()


def test_map_of_another_length_is_refused(align_kernels: AlignKernels) -> None:
    """Protects memory: the kernels read an id for each expert."""
    case = align_cases.set_map(align_cases.make_uniform(8, 2, 8, framework="sglang"))
    with (
        pytest.raises(ProblemError, match="id for each of 9 experts, got the shape"),
        align_kernels.prepare(case.problem, case.inputs),
    ):
        pass


@st.composite
def draw_case(draw: st.DrawFn) -> AlignCase:
    """Return any small alignment: sizes, framework, repeats, map, bad ids, width of ids and outputs."""
    num_experts = draw(st.integers(1, 300))
    topk = draw(st.integers(1, min(num_experts, 12)))
    rows = draw(st.integers(0, 400))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    framework: FrameworkName = draw(st.sampled_from(["vllm", "sglang"]))
    problem = AlignProblem(
        rows,
        topk,
        num_experts,
        block_size=draw(st.sampled_from([1, 5, 16, 32, 64, 128])),
        framework=framework,
        ignore_invalid_experts=draw(st.booleans()),
        pad_sorted_ids=draw(st.booleans()),
        tail_expert=draw(st.sampled_from([-1, 0])),
    )
    ids = random.integers(0, num_experts, (rows, topk))
    ids[rows - draw(st.integers(0, rows)) :] = draw(st.integers(0, num_experts - 1))
    if draw(st.booleans()):
        ids = np.where(random.random(ids.shape) < 0.2, random.choice([-1, num_experts, -(2**31)], ids.shape), ids)
    expert_map = None
    if framework == "vllm" and draw(st.booleans()):
        on = random.random(num_experts) < 0.5
        expert_map = np.where(on, np.cumsum(on) - 1, -1).astype(np.int32)
    kind = draw(st.sampled_from([np.int32, np.int64]))
    return AlignCase(problem, AlignInputs(ids.astype(kind), expert_map), scatter_idx=draw(st.booleans()))


@given(case=draw_case())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kernel", KERNELS)
def test_alignment_is_exact_for_any_problem(align_kernels: AlignKernels, kernel: KernelName, case: AlignCase) -> None:
    """Protects the combinations that nobody thought of."""
    case.check(align_kernels, kernel)
