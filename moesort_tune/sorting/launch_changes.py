"""Token counts at which the builtin kernels' launches change shape, and their times with them."""

import sys
from itertools import pairwise
from typing import Final, NamedTuple

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.launches import Launch, plan
from moesort_tune.sorting.problem import Problem

MOST_RESIDENT: Final = 4
"""Workgroups on a compute unit, as far as LDS limits them, past which one more or less changes nothing."""


class LaunchShape(NamedTuple):
    """Properties that a launch shares with those of nearly as many tokens.

    kernel: the variant. resident: workgroups on a compute unit, up to MOST_RESIDENT; counted only for a kernel that has
    a limit, since it holds all tokens in LDS, while the others hold as many as they like.
    """

    kernel: str
    chunk_tokens: int
    resident: int


def find_launch_changes(num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> list[int]:
    """Return the token counts on both sides of each change of shape from `first` to `last` tokens, ascending.

    A kernel's time may jump there: with 257 experts on an H100 oneshot takes 15 % less from 2304 to 2305
    tokens, where LDS no longer holds two of its workgroups. Chunks that grow because there are fewer compute units
    than chunks are left out, so that the counts are those of the architecture.
    """
    device = device._replace(compute_units=sys.maxsize)
    known: dict[int, tuple[LaunchShape, ...]] = {}

    def get_shapes(tokens: int) -> tuple[LaunchShape, ...]:
        if tokens not in known:
            known[tokens] = _compute_shapes(Problem(tokens, topk, num_experts), device)
        return known[tokens]

    def find_changes(low: int, high: int) -> set[int]:
        if get_shapes(low) == get_shapes(high):
            return set()
        if high - low == 1:
            return {low, high}
        middle = (low + high) // 2
        return find_changes(low, middle) | find_changes(middle, high)

    # Every shape but the widest lasts for more tokens than are between two powers of two.
    powers = [2**k for k in range(last.bit_length()) if first < 2**k < last]
    return sorted(set().union(*(find_changes(low, high) for low, high in pairwise([first, *powers, last]))))


def _compute_shapes(problem: Problem, device: DeviceLimits) -> tuple[LaunchShape, ...]:
    limits = compute_limits(problem.num_experts, problem.topk, device)
    return tuple(
        LaunchShape(
            launch.kernel,
            launch.chunk_tokens,
            _count_resident(launch, device) if limits[kernel] < MAX_TOKENS else MOST_RESIDENT,
        )
        for kernel in list_legal_kernels(problem.rows, limits)
        for launch in plan(kernel, problem, device)
    )


def _count_resident(launch: Launch, device: DeviceLimits) -> int:
    return min(MOST_RESIDENT, device.lds_bytes // launch.lds_bytes) if launch.lds_bytes else MOST_RESIDENT
