"""The wide grid on a real GPU: every output of every kernel, exactly, up to a million tokens.

The host runtime takes minutes for it and runs tests/sorting instead, so here it is left out, aloud.
"""

import numpy as np
import pytest

from moesort_tune.device import hip
from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.inputs import make_inputs, make_mask
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KERNELS
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import moe_sorting
from tests.opt_in import needs_gpu
from tests.sorting import cases

pytestmark = pytest.mark.gpu

TOKENS = (1, 7, 31, 32, 33, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SHAPES = ((32, 5), (256, 8), (40, 6), (385, 7), (8, 2), (128, 4), (512, 10), (1024, 8))


@pytest.fixture(autouse=True)
def _only_on_a_gpu(kernels: SortingKernels) -> None:
    needs_gpu(kernels.limits.arch != "host")


def list_kernels(kernels: SortingKernels, rows: int, num_experts: int, topk: int) -> list[KernelName]:
    """Return the kernels that take so many rows."""
    return list(list_legal_kernels(rows, compute_limits(num_experts, topk, kernels.limits)))


@pytest.mark.parametrize(("num_experts", "topk"), SHAPES)
@pytest.mark.parametrize("tokens", TOKENS)
def test_sort_is_exact_on_the_grid(kernels: SortingKernels, tokens: int, num_experts: int, topk: int) -> None:
    """Protects the kernels with and without a mask, and with 1000 rows that are not read."""
    for padded in (0, 1000):
        case = cases.make_uniform(tokens + padded, topk, num_experts, moe_buf_bytes=(tokens + padded) * 64 + 3)
        case = cases.set_tokens(case, tokens) if padded else case
        for variant in (case, cases.set_mask(case, rank=1, ranks=2)):
            expected = variant.expected
            for kernel in list_kernels(kernels, tokens + padded, num_experts, topk):
                shape = f"{tokens} of {tokens + padded} rows, {num_experts} experts, topk {topk}"
                check_outputs(variant.run(kernels, kernel), expected, kernel=kernel, shape=shape)


def test_million_tokens_and_a_buffer_beyond_2_31_bytes(kernels: SortingKernels) -> None:
    """Protects offsets that do not fit into 32 bits, of rows and of moe_buf."""
    rows, topk, num_experts = 1 << 20, 8, 256
    case = cases.make_uniform(1 << 14, topk, num_experts)
    ids = np.tile(case.inputs.topk_ids, (rows >> 14, 1))
    weights = np.random.default_rng(0).random((rows, topk), dtype=np.float32)
    inputs = make_inputs(rows=0, topk=topk, num_experts=num_experts, seed=0)
    inputs = type(inputs)(ids, weights, make_mask(num_experts, rank=0, ranks=1))
    problem = Problem(rows, topk, num_experts, moe_buf_bytes=(1 << 31) + (1 << 20) + 13)
    case = cases.Case(problem, inputs)
    expected = moe_sorting(inputs, num_experts=num_experts, unit_size=32)
    check_outputs(case.run(kernels, "multiphase"), expected, kernel="multiphase", shape="a million tokens")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("num_experts", "topk"), [(256, 8), (8, 2)])
def test_captured_sort_serves_every_token_count(
    kernels: SortingKernels, kernel: KernelName, num_experts: int, topk: int
) -> None:
    """Protects serving at full size: one graph of up to 512 rows replayed for fewer and fewer real ones."""
    case = cases.fit(cases.make_uniform(512, topk, num_experts, moe_buf_bytes=512 * 8192), kernel, kernels.limits)
    rows = case.problem.rows
    case = cases.set_tokens(case, rows)
    stream = kernels.device.create_stream()
    with kernels.prepare(case.problem, case.inputs, case.optional_outputs) as prepared:
        prepared.prepare_launches(kernel)
        graph = kernels.device.capture(stream, lambda stream: prepared.launch(kernel, stream))
        for tokens in (rows, rows - 1, rows // 4 + 1, rows // 16, 1, 0):
            prepared.set_num_local_tokens(tokens)
            prepared.spoil()
            graph.launch(stream)
            stream.synchronize()
            check_outputs(
                prepared.read_outputs(), cases.set_tokens(case, tokens).expected, kernel=kernel, shape=f"{tokens}"
            )
            with hip.PinnedMemory(cases.PIECE_BYTES) as memory:
                assert prepared.is_moe_buf_zero(memory)
        graph.destroy()
