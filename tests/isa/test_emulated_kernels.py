"""Every kernel's machine code on every AMD target: exact outputs, and no access outside the buffers.

What this shows and what it does not: docs/targets.md.
"""

from dataclasses import replace

import numpy as np
import pytest

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.sorting.check import check_outputs
from moesort_tune.sorting.geometry import compute_oneshot_max_tokens
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import KERNELS
from tests.isa.device import EmulatedDevice, load_emulated_kernels
from tests.isa.waves import ORDERS, Order
from tests.sorting import cases
from tests.sorting.cases import Case

COMPUTE_UNITS = 4
"""Few, so that few workgroups have to be run."""

pytestmark = pytest.mark.parametrize("kernel", KERNELS)


def check_case(kernels: SortingKernels, kernel: KernelName, case: Case) -> None:
    fitting = cases.fit(case, kernel, kernels.limits)
    shape = f"{fitting.problem} on {kernels.limits.arch}"
    check_outputs(fitting.run(kernels, kernel), fitting.expected, kernel=kernel, shape=shape)


def sort_and_check(
    arch: str,
    code: bytes,
    kernel: KernelName,
    case: Case,
    *,
    order: Order = "forward",
    compute_units: int = COMPUTE_UNITS,
) -> EmulatedDevice:
    device = EmulatedDevice(arch, compute_units=compute_units, order=order)
    check_case(load_emulated_kernels(device, code), kernel, case)
    return device


def everything_at_once(rows: int) -> Case:
    """Return a case with every optional input and output, bad ids, masked experts, and an unaligned moe_buf."""
    case = cases.set_mask(cases.make_uniform(rows, 5, 67, unit_size=24, moe_buf_bytes=4099), rank=1, ranks=3)
    return cases.make_bad_ids(cases.set_tokens(case, rows - 3))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", [3, 70, 300])
def test_every_option_at_once_is_exact(arch: str, code: bytes, kernel: KernelName, rows: int, order: Order) -> None:
    """Protects all outputs together, and shows missing barriers: the order of waves must not matter."""
    sort_and_check(arch, code, kernel, everything_at_once(rows), order=order)


@pytest.mark.parametrize("tokens", [0, 1, 31, 32, 33, 65])
@pytest.mark.parametrize("experts", [(1, 1), (63, 3), (65, 8)])
def test_sizes_around_words_and_waves_are_exact(
    arch: str, code: bytes, kernel: KernelName, tokens: int, experts: tuple[int, int]
) -> None:
    """Protects the edges: no rows, one row, a word of tokens and a wave of experts, one more and one less."""
    num_experts, topk = experts
    sort_and_check(arch, code, kernel, cases.make_uniform(tokens, topk, num_experts, unit_size=16))


@pytest.mark.parametrize("shape", [(128, 4, 32), (256, 8, 32), (255, 255, 1), (1024, 9, 2)])
def test_many_experts_are_exact(arch: str, code: bytes, kernel: KernelName, shape: tuple[int, int, int]) -> None:
    """Protects the scan over experts across waves, up to the largest expert count and topk."""
    num_experts, topk, unit_size = shape
    sort_and_check(arch, code, kernel, cases.make_uniform(9, topk, num_experts, unit_size=unit_size))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compute_units", [1, 3, 80])
def test_every_division_of_the_rows_is_exact(
    arch: str, code: bytes, kernel: KernelName, compute_units: int, order: Order
) -> None:
    """Protects the hand-over of multiphase: one chunk in several passes, a few, and so many that groups add them up.

    70 experts are more than a wave, so that waves depend on each other at every barrier.
    """
    case = cases.set_mask(cases.make_uniform(650, 2, 70))
    sort_and_check(arch, code, kernel, case, order=order, compute_units=compute_units)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", [129, 256])
def test_two_batches_of_words_are_exact(arch: str, code: bytes, kernel: KernelName, rows: int, order: Order) -> None:
    """Protects multiphase where a thread holds its expert's words of five and of eight chunks."""
    sort_and_check(arch, code, kernel, everything_at_once(rows), order=order, compute_units=8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", [63, 64, 65, 128, 129, 256])
def test_every_number_of_words_of_pairs_is_exact(
    arch: str, code: bytes, kernel: KernelName, rows: int, order: Order
) -> None:
    """Protects wave's variants at both ends, and what their waves exchange: experts go on from word to word."""
    case = cases.set_mask(cases.make_repeats(cases.make_uniform(rows, 1, 70, unit_size=3)), rank=1, ranks=2)
    sort_and_check(arch, code, kernel, case, order=order)


@pytest.mark.parametrize("expert", [0, 66])
def test_one_hot_expert_is_exact(arch: str, code: bytes, kernel: KernelName, expert: int) -> None:
    """Protects ranks where all tokens meet in one expert, and 66 experts without a tile."""
    sort_and_check(arch, code, kernel, cases.make_one_hot_expert(130, 67, expert))


def test_masked_expert_may_repeat_in_a_row(arch: str, code: bytes, kernel: KernelName) -> None:
    """Protects masks with a sentinel expert that is always off and stands in a row any number of times."""
    case = cases.set_mask(cases.make_uniform(40, 4, 33), rank=0, ranks=2)
    ids = case.inputs.topk_ids.copy()
    ids[:, 1:] = 32
    sort_and_check(arch, code, kernel, cases.set_ids(case, ids))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(1, 4), (70, 4), (200, 8), (450, 2), (450, 80)])
def test_every_pair_of_a_repeated_expert_gets_its_row(
    arch: str, code: bytes, kernel: KernelName, order: Order, size: tuple[int, int]
) -> None:
    """Protects the counting by ids of every variant, and its barriers, at (rows, compute units)."""
    rows, compute_units = size
    case = cases.set_mask(cases.make_repeats(cases.make_uniform(rows, 5, 70, unit_size=16)), rank=0, ranks=2)
    sort_and_check(arch, code, kernel, case, order=order, compute_units=compute_units)


def test_nothing_enabled_leaves_nothing(arch: str, code: bytes, kernel: KernelName) -> None:
    """Protects a rank that owns no expert."""
    case = cases.make_uniform(20, 2, 8)
    case = replace(case, inputs=replace(case.inputs, local_expert_mask=np.zeros(8, np.int32)))
    sort_and_check(arch, code, kernel, case)


@pytest.mark.parametrize("tokens", [-1, 0, 20, 1000])
def test_local_tokens_are_clamped(arch: str, code: bytes, kernel: KernelName, tokens: int) -> None:
    """Protects the count on the device: below 0 and above the rows it means none and all."""
    sort_and_check(arch, code, kernel, cases.set_tokens(cases.make_uniform(40, 3, 16), tokens))


@pytest.mark.parametrize("moe_buf_bytes", [1, 15, 16, 4096, 65537])
def test_moe_buf_of_any_alignment_is_zeroed(arch: str, code: bytes, kernel: KernelName, moe_buf_bytes: int) -> None:
    """Protects the ends of moe_buf: odd sizes lie at odd addresses, the others 4 bytes past an aligned one."""
    sort_and_check(arch, code, kernel, cases.make_uniform(2, 2, 8, moe_buf_bytes=moe_buf_bytes))


@pytest.mark.parametrize("optional_outputs", [(), ("local_topk_ids",), ("m_indices",), ("reverse_sorted",)])
def test_optional_outputs_are_independent(
    arch: str, code: bytes, kernel: KernelName, optional_outputs: tuple[str, ...]
) -> None:
    """Protects callers that want some outputs only."""
    case = replace(cases.set_mask(cases.make_uniform(34, 4, 32)), optional_outputs=optional_outputs)
    sort_and_check(arch, code, kernel, case)


def test_largest_oneshot_fits_into_the_targets_lds(arch: str, code: bytes, kernel: KernelName) -> None:
    """Protects oneshot_max_tokens: the largest legal problem runs in the LDS of each target, 160 KiB on gfx950."""
    device = EmulatedDevice(arch, compute_units=COMPUTE_UNITS)
    tokens = compute_oneshot_max_tokens(1024, 1, device.properties.lds_bytes)
    launches = sort_and_check(arch, code, kernel, cases.make_uniform(tokens, 1, 1024, unit_size=1)).launches
    if kernel == "oneshot":
        assert launches[0].lds_bytes > device.properties.lds_bytes * 0.9
