"""Compute the builtin kernels' revision, from their target's code and their launches. Standard library only."""

from collections.abc import Iterator
from dataclasses import astuple
from functools import cache
from itertools import product
from typing import Final

from moesort_tune.device import sources
from moesort_tune.device.architectures import get_architecture
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sorting.launches import KERNELS, SOURCES, compute_workspace_bytes, plan
from moesort_tune.sorting.problem import Problem

KERNEL_FILES = tuple(SOURCES)

_SHAPES: Final = ((1, 1), (8, 2), (128, 4), (257, 9), (1024, 8), (1024, 255))
"""(num_experts, topk) of the canonical problems: from one expert to the limits of the contract."""

_TOKENS: Final = (1, *(2**k + past for k in range(5, 15) for past in (0, 1)), 300, 1500, 100_000, 1_000_003)
"""Tokens of the canonical problems: on both sides of every rule that launches follow, mostly at powers of two."""

_COMPUTE_UNITS: Final = (38, 304)
"""The smallest and the largest device that a table may be of."""

_TOKEN_BYTES: Final = 8192
"""Bytes of moe_buf for each token: enough to meet both limits of the zeroing."""


@cache
def compute_kernels_revision(arch: str) -> str:
    """Return 16 hexadecimal digits that change with the code that `arch` runs and with its launches' geometry.

    The geometry is hashed as the launches of canonical problems, so that its source may move but its results may not.
    """
    return sources.compute_revision(arch, KERNEL_FILES, constants="\n".join(_describe_launches(arch)))


@cache
def compute_align_revision(arch: str) -> str:
    """Return the same of the align form, which zeroes no moe_buf. It stands for ids of 32 and of 64 bits."""
    launches = "\n".join(_describe_launches(arch, token_bytes=0))
    return sources.compute_revision(arch, KERNEL_FILES, constants=launches, align=True)


def _describe_launches(arch: str, token_bytes: int = _TOKEN_BYTES) -> Iterator[str]:
    """Yield a line for each canonical problem: its workspace and every launch of each kernel that takes it.

    A line before those of each shape has the kernels' limits, as far as anything limits them. token_bytes: bytes of
    moe_buf for each token.
    """
    known = get_architecture(arch)
    for compute_units, (num_experts, topk) in product(_COMPUTE_UNITS, _SHAPES):
        device = DeviceLimits(arch, compute_units, known.wavefront_size, known.lds_bytes)
        limits = compute_limits(num_experts, topk, device)
        limited = [limit for limit in limits.values() if limit < MAX_TOKENS]
        yield " ".join(map(str, (num_experts, topk, *limited)))
        for tokens in (*_TOKENS, *limited):
            problem = Problem(tokens, topk, num_experts, moe_buf_bytes=tokens * token_bytes)
            kernels = [kernel for kernel in KERNELS if tokens <= limits[kernel]]
            launches = [astuple(launch) for kernel in kernels for launch in plan(kernel, problem, device)]
            yield f"{tokens} {compute_workspace_bytes(problem, device)} {launches}"
