"""Token counts at which the builtin kernels' launches change shape, and their times with them."""

import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.sorting.geometry import compute_oneshot_max_tokens
from moesort_tune.sorting.launches import plan
from moesort_tune.sorting.problem import Problem

MOST_RESIDENT: Final = 4
"""Workgroups of oneshot on a compute unit, as far as LDS limits them, past which one more or less changes nothing."""


@dataclass(frozen=True)
class LaunchShape:
    """Properties that a problem's launches share with those of nearly as many tokens.

    kernels: variants of multiphase, and of oneshot where it is legal. resident: see MOST_RESIDENT.
    """

    kernels: tuple[str, ...]
    chunk_tokens: int
    resident: int


def find_launch_changes(num_experts: int, topk: int, limits: DeviceLimits, first: int, last: int) -> list[int]:
    """Return the token counts on both sides of each change of shape from `first` to `last` tokens, ascending.

    A kernel's time may jump there: with 257 experts on an H100 oneshot takes a sixth less from 2304 to 2305
    tokens, where LDS no longer holds two of its workgroups. Chunks that grow because there are fewer compute units
    than chunks are left out, so that the counts are those of the architecture.
    """
    limits = limits._replace(compute_units=sys.maxsize)
    shapes: dict[int, LaunchShape] = {}

    def get_shape(tokens: int) -> LaunchShape:
        if tokens not in shapes:
            shapes[tokens] = _compute_shape(Problem(tokens, topk, num_experts), limits)
        return shapes[tokens]

    def find_changes(low: int, high: int) -> set[int]:
        if get_shape(low) == get_shape(high):
            return set()
        if high - low == 1:
            return {low, high}
        middle = (low + high) // 2
        return find_changes(low, middle) | find_changes(middle, high)

    # Every shape but the widest lasts for more tokens than are between two powers of two.
    powers = [2**k for k in range(last.bit_length()) if first < 2**k < last]
    return sorted(set().union(*(find_changes(low, high) for low, high in pairwise([first, *powers, last]))))


def _compute_shape(problem: Problem, limits: DeviceLimits) -> LaunchShape:
    multiphase = plan("multiphase", problem, limits)
    kernels = [launch.kernel for launch in multiphase]
    resident = 0
    if problem.rows <= compute_oneshot_max_tokens(problem.num_experts, problem.topk, limits.lds_bytes):
        (oneshot,) = plan("oneshot", problem, limits)
        kernels.append(oneshot.kernel)
        resident = min(MOST_RESIDENT, limits.lds_bytes // oneshot.lds_bytes)
    return LaunchShape(tuple(kernels), multiphase[0].chunk_tokens, resident)
