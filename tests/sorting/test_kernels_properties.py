"""Every kernel on random problems, and on what no list of examples would have."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.kernels import OPTIONAL_OUTPUTS, SortingKernels
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import moe_sorting
from tests.sorting import cases
from tests.sorting.cases import Case

pytestmark = pytest.mark.gpu


@st.composite
def draw_case(draw: st.DrawFn) -> Case:
    """Return any small problem: sizes, routing, repeats, mask, bad ids, device-side count and optional outputs."""
    num_experts = draw(st.integers(1, 300))
    topk = draw(st.integers(1, min(num_experts, 12)))
    rows = draw(st.integers(0, 400))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    popular = random.permutation(num_experts)[: draw(st.integers(topk, num_experts))]
    scores = random.random((rows, len(popular)))
    ids = popular[np.argsort(scores, axis=1)[:, :topk]].astype(np.int32)
    if draw(st.booleans()):
        ids = random.integers(0, num_experts, (rows, topk), dtype=np.int32)
        ids[rows - draw(st.integers(0, rows)) :] = draw(st.integers(0, num_experts - 1))
    if draw(st.booleans()):
        ids = np.where(random.random(ids.shape) < 0.2, random.choice([-1, num_experts, -(2**31)], ids.shape), ids)
    mask = random.integers(0, 2, num_experts, dtype=np.int32) if draw(st.booleans()) else None
    inputs = SortingInputs(
        topk_ids=np.ascontiguousarray(ids, dtype=np.int32),
        topk_weights=random.standard_normal((rows, topk)).astype(np.float32),
        local_expert_mask=mask,
        num_local_tokens=draw(st.none() | st.integers(-5, rows + 5)),
    )
    unit_size = draw(st.sampled_from([1, 5, 16, 32, 64, 128]))
    problem = Problem(rows, topk, num_experts, unit_size, draw(st.integers(0, 5000)))
    return Case(problem, inputs, tuple(draw(st.sets(st.sampled_from(OPTIONAL_OUTPUTS)))))


@given(case=draw_case())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kernel", KERNELS)
def test_sort_is_exact_for_any_problem(kernels: SortingKernels, kernel: KernelName, case: Case) -> None:
    """Protects the combinations that nobody thought of."""
    fitting = cases.fit(case, kernel, kernels.limits)
    check_outputs(fitting.run(kernels, kernel), fitting.expected, kernel=kernel, shape=str(fitting.problem))


@pytest.mark.parametrize("kernel", KERNELS)
def test_replayed_graph_reads_the_count_of_the_moment(kernels: SortingKernels, kernel: KernelName) -> None:
    """Protects serving: one captured graph serves every number of real rows up to its own."""
    case = cases.fit(cases.make_uniform(256, 4, 32, moe_buf_bytes=4096), kernel, kernels.limits)
    rows = case.problem.rows
    case = cases.set_tokens(case, rows)
    stream = kernels.device.create_stream()
    with kernels.prepare(case.problem, case.inputs, case.optional_outputs) as prepared:
        prepared.prepare_launches(kernel)
        graph = kernels.device.capture(stream, lambda stream: prepared.launch(kernel, stream))
        for tokens in (rows, 1, 0, rows // 2 + 5):
            prepared.set_num_local_tokens(tokens)
            prepared.spoil()
            graph.launch(stream)
            stream.synchronize()
            expected = cases.set_tokens(case, tokens).expected
            check_outputs(prepared.read_outputs(), expected, kernel=kernel, shape=f"{tokens} of {rows} rows")
        graph.destroy()


class ShiftedBuffer(hip.Buffer):
    """Device memory whose address has the alignment of an int32 and no more."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes + 4)
        self.nbytes = nbytes
        self.pointer += 4

    def destroy(self) -> None:
        if self.pointer:
            self.pointer -= 4
        super().destroy()


class ShiftedDevice(hip.Device):
    """A device that never aligns better than it must."""

    def allocate(self, nbytes: int) -> hip.Buffer:
        return ShiftedBuffer(nbytes)


@pytest.mark.parametrize("kernel", KERNELS)
def test_tensors_need_no_more_than_element_alignment(device: hip.Device, kernel: KernelName) -> None:
    """Protects views into larger tensors: slices begin anywhere."""
    shifted = SortingKernels(ShiftedDevice(device.ordinal, device.properties))
    case = cases.set_mask(cases.make_uniform(77, 3, 21, moe_buf_bytes=1234))
    case = cases.fit(case, kernel, shifted.limits)
    check_outputs(case.run(shifted, kernel), case.expected, kernel=kernel, shape="shifted tensors")


def test_worked_example_of_the_readme_is_what_the_kernels_write(kernels: SortingKernels) -> None:
    """Protects hip_kernels/README.md, from which people learn the layout."""
    ids = np.array([[2, 0], [0, 1], [2, 0]], np.int32)
    weights = np.arange(1, 7, dtype=np.float32).reshape(3, 2)  # a to f
    case = Case(Problem(3, 2, 3, 4), SortingInputs(ids, weights))
    for kernel in KERNELS:
        outputs = case.run(kernels, kernel)
        assert outputs.sorted_weights.tolist() == [2, 3, 6, 0, 4, 0, 0, 0, 1, 5, 0, 0]
        assert outputs.sorted_expert_ids.tolist() == [0, 1, 2]
        assert outputs.num_valid_ids.tolist() == [12, 3]
        assert outputs.m_indices is not None
        assert outputs.m_indices.tolist() == [0, 1, 2, 3, 1, 3, 3, 3, 0, 2, 3, 3]
        assert outputs.reverse_sorted is not None
        assert outputs.reverse_sorted.tolist() == [8, 0, 1, 4, 9, 2]
        assert outputs.sorted_token_ids[3] == 3 | 2 << 24


def test_reference_pads_with_rows_and_topk() -> None:
    """Protects the reference itself: the padding mark and the order inside an expert, by hand."""
    ids = np.array([[1, 0], [0, 1]], np.int32)
    weights = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    outputs = moe_sorting(SortingInputs(ids, weights), num_experts=2, unit_size=3)
    pad = 2 | 2 << 24
    assert outputs.sorted_token_ids.tolist() == [0 | 1 << 24, 1, pad, 0, 1 | 1 << 24, pad]
