"""Where the kernels' launches change shape, found without looking at every token count."""

import pytest

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.sorting.geometry import compute_limits, compute_oneshot_max_tokens
from moesort_tune.sorting.launch_changes import find_launch_changes
from moesort_tune.sorting.launches import plan
from moesort_tune.sorting.problem import Problem

MI300X = DeviceLimits("gfx942", 304, 64, 65536)
H100 = DeviceLimits("sm_90", 132, 32, 232448)


@pytest.mark.parametrize("limits", [MI300X, H100])
@pytest.mark.parametrize(("num_experts", "topk"), [(8, 2), (64, 6), (257, 9), (512, 10)])
def test_both_sides_of_every_change_of_variants_are_found(limits: DeviceLimits, num_experts: int, topk: int) -> None:
    """Protects sweeps: a kernel's time may jump where another variant takes over, so both sides are measured."""
    last = min(compute_oneshot_max_tokens(num_experts, topk, limits.lds_bytes), 4096)

    def variants(tokens: int) -> list[str]:
        problem = Problem(tokens, topk, num_experts)
        legal = list_legal_kernels(tokens, compute_limits(num_experts, topk, limits))
        return [launch.kernel for kernel in legal for launch in plan(kernel, problem, limits)]

    found = find_launch_changes(num_experts, topk, limits, 1, last)
    known = [variants(tokens) for tokens in range(1, last + 1)]
    for tokens in range(1, last):
        if known[tokens - 1] != known[tokens]:
            assert {tokens, tokens + 1} <= set(found)


def test_change_of_residency_and_of_chunks_are_among_them() -> None:
    """What an H100 showed: oneshot's time drops from 2304 to 2305 tokens, multiphase's from 2048 to 2049."""
    found = find_launch_changes(257, 9, H100, 1, 4096)
    assert {2048, 2049, 2304, 2305} <= set(found)
    assert found == sorted(set(found))


def test_range_bounds_what_is_found() -> None:
    """Protects ladders from token counts that nobody asked for."""
    assert find_launch_changes(257, 9, H100, 2049, 2304) == []
    assert find_launch_changes(257, 9, H100, 7, 7) == []
