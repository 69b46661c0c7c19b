"""Every kernel against the reference: every defined element of every output, exactly."""

from dataclasses import replace

import numpy as np
import pytest

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_oneshot_max_tokens
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KERNELS
from tests.sorting import cases
from tests.sorting.cases import Case

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("kernel", KERNELS)]


def sort_and_check(kernels: SortingKernels, kernel: KernelName, case: Case) -> None:
    fitting = cases.fit(case, kernel, kernels.limits)
    check_outputs(fitting.run(kernels, kernel), fitting.expected, kernel=kernel, shape=str(fitting.problem))


@pytest.mark.parametrize("tokens", [0, 1, 7, 31, 32, 33, 63, 64, 65, 255, 256, 257])
@pytest.mark.parametrize(("num_experts", "topk"), [(1, 1), (8, 2), (40, 6), (128, 4), (257, 9), (385, 7)])
def test_sort_is_exact_for_ordinary_shapes(
    kernels: SortingKernels, kernel: KernelName, tokens: int, num_experts: int, topk: int
) -> None:
    """Protects every output at the edges of words, waves and passes."""
    sort_and_check(kernels, kernel, cases.make_uniform(tokens, topk, num_experts))


@pytest.mark.parametrize(("num_experts", "topk"), [(1024, 8), (1024, 1), (255, 255), (512, 255)])
def test_sort_is_exact_at_the_largest_experts_and_topk(
    kernels: SortingKernels, kernel: KernelName, num_experts: int, topk: int
) -> None:
    """Protects the limits of the contract: 1024 experts, topk 255, and every expert chosen by every token."""
    sort_and_check(kernels, kernel, cases.make_uniform(37, topk, num_experts))


@pytest.mark.parametrize("unit_size", [1, 2, 3, 16, 31, 33, 64, 128, 1024])
def test_sort_is_exact_for_every_unit_size(kernels: SortingKernels, kernel: KernelName, unit_size: int) -> None:
    """Protects padding and tiles of all sizes, those that are no power of two included."""
    sort_and_check(kernels, kernel, cases.make_uniform(unit_size + 1, 3, 12, unit_size=unit_size))


@pytest.mark.parametrize("tokens_per_expert", [31, 32, 33, 64])
def test_tile_ends_with_its_expert(kernels: SortingKernels, kernel: KernelName, tokens_per_expert: int) -> None:
    """Protects the last tile of an expert whose tokens fill it exactly, miss it by one, or begin another."""
    ids = np.repeat(np.arange(5, dtype=np.int32), tokens_per_expert).reshape(-1, 1)
    case = cases.set_ids(cases.make_uniform(len(ids), 1, 5), ids)
    sort_and_check(kernels, kernel, case)


@pytest.mark.parametrize("expert", [0, 5, 127])
def test_one_hot_expert_gets_every_token(kernels: SortingKernels, kernel: KernelName, expert: int) -> None:
    """Protects ranks when all tokens meet in one word of one expert, and 127 experts without a tile."""
    sort_and_check(kernels, kernel, cases.make_one_hot_expert(300, 128, expert))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_masked_experts_get_no_rows(kernels: SortingKernels, kernel: KernelName, rank: int) -> None:
    """Protects expert parallelism: rows and ids only of the enabled experts, numbered among themselves."""
    sort_and_check(kernels, kernel, cases.set_mask(cases.make_uniform(200, 6, 65), rank=rank, ranks=3))


def test_masked_expert_may_repeat_in_a_row(kernels: SortingKernels, kernel: KernelName) -> None:
    """Protects masks with a sentinel expert that is always off and stands in a row any number of times."""
    case = cases.set_mask(cases.make_uniform(90, 4, 33), rank=0, ranks=2)
    ids = case.inputs.topk_ids.copy()
    ids[:, 1:] = 32
    sort_and_check(kernels, kernel, cases.set_ids(case, ids))


REPEATS = [(1, 8, 8), (64, 8, 4), (90, 257, 9), (256, 8, 4), (300, 5, 5), (513, 64, 6), (1500, 33, 8), (37, 255, 255)]


@pytest.mark.parametrize(("tokens", "num_experts", "topk"), REPEATS)
def test_every_pair_of_a_repeated_expert_gets_its_row(
    kernels: SortingKernels, kernel: KernelName, tokens: int, num_experts: int, topk: int
) -> None:
    """Protects frameworks that pad rows with one expert in every slot: each slot has a row, in the slots' order."""
    case = cases.make_repeats(cases.make_uniform(tokens, topk, num_experts))
    sort_and_check(kernels, kernel, case)
    sort_and_check(kernels, kernel, cases.set_mask(case))


def test_all_slots_of_all_rows_may_name_one_expert(kernels: SortingKernels, kernel: KernelName) -> None:
    """Protects 16-bit counts from the most pairs that one expert of a chunk can have."""
    case = cases.make_uniform(compute_oneshot_max_tokens(255, 255, kernels.limits.lds_bytes), 255, 255, unit_size=1)
    sort_and_check(kernels, kernel, cases.set_ids(case, np.full(case.inputs.topk_ids.shape, 254, np.int32)))


def test_all_experts_masked_leaves_nothing(kernels: SortingKernels, kernel: KernelName) -> None:
    """Protects a rank that owns no expert: no rows, and num_valid_ids says so."""
    case = cases.make_uniform(64, 2, 8)
    case = replace(case, inputs=replace(case.inputs, local_expert_mask=np.zeros(8, np.int32)))
    sort_and_check(kernels, kernel, case)


def test_ids_outside_the_experts_are_dropped(kernels: SortingKernels, kernel: KernelName) -> None:
    """Protects memory: -1, num_experts and the ends of int32 get no row and touch nothing."""
    sort_and_check(kernels, kernel, cases.make_bad_ids(cases.make_uniform(310, 5, 17)))


@pytest.mark.parametrize("tokens", [-3, 0, 1, 100, 255, 256, 300, 1000])
def test_only_local_tokens_are_read(kernels: SortingKernels, kernel: KernelName, tokens: int) -> None:
    """Protects padded rows: the device-side count is clamped, and rows from it on get nothing."""
    sort_and_check(kernels, kernel, cases.set_tokens(cases.make_uniform(300, 4, 32), tokens))


@pytest.mark.parametrize("moe_buf_bytes", [1, 15, 16, 17, 4096, 70001, 1 << 20])
def test_moe_buf_is_zeroed_whole(kernels: SortingKernels, kernel: KernelName, moe_buf_bytes: int) -> None:
    """Protects the bytes behind the last 16-byte vector, whatever the buffer's size."""
    sort_and_check(kernels, kernel, cases.make_uniform(33, 2, 8, moe_buf_bytes=moe_buf_bytes))


@pytest.mark.parametrize("optional_outputs", [(), ("local_topk_ids",), ("m_indices",), ("reverse_sorted",)])
def test_optional_outputs_are_independent(
    kernels: SortingKernels, kernel: KernelName, optional_outputs: tuple[str, ...]
) -> None:
    """Protects callers that want some outputs only: the others are neither needed nor touched."""
    case = replace(cases.set_mask(cases.make_uniform(130, 4, 32)), optional_outputs=optional_outputs)
    sort_and_check(kernels, kernel, case)


@pytest.mark.parametrize(
    ("tokens", "num_experts", "topk"), [(513, 64, 6), (1500, 128, 8), (5000, 8, 2), (2500, 1024, 3)]
)
def test_sort_is_exact_over_several_chunks(
    kernels: SortingKernels, kernel: KernelName, tokens: int, num_experts: int, topk: int
) -> None:
    """Protects the hand-over between chunks: ranks go on where the chunk before ended."""
    sort_and_check(kernels, kernel, cases.make_uniform(tokens, topk, num_experts))


@pytest.mark.parametrize(("num_experts", "topk"), [(1024, 2), (512, 2)])
def test_sort_is_exact_at_the_oneshot_limit(
    kernels: SortingKernels, kernel: KernelName, num_experts: int, topk: int
) -> None:
    """Protects the largest problem whose layout fits into LDS."""
    tokens = compute_oneshot_max_tokens(num_experts, topk, kernels.limits.lds_bytes)
    sort_and_check(kernels, kernel, cases.make_uniform(tokens, topk, num_experts))
