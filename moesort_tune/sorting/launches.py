"""How a problem becomes launches: grid, workgroup, LDS, and which bytes of moe_buf each launch zeroes."""

from dataclasses import dataclass

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sorting.problem import KernelName, Problem
from moesort_tune.sorting.sizes import WORD_TOKENS, lds_bytes, oneshot_max_tokens, round_up

MAX_THREADS = 1024
"""Threads of the largest workgroup."""

MAX_ONESHOT_WORKGROUPS = 32
"""Sorting workgroups of oneshot; each works the whole layout out, so more of them only help with the writing."""

PASS_TOKENS = 256
"""Tokens whose bits a workgroup of multiphase holds at a time: with 1024 experts, 60 of the 64 KiB of LDS."""

MAX_CHUNKS = 256
"""Sorting workgroups of multiphase; each reads all chunks' counts, so their number is bounded."""

ZERO_THREADS_BYTES = 64
"""Bytes of moe_buf that one thread should zero, as long as there are workgroups left."""

ZERO_WORKGROUPS_PER_UNIT = 8
"""Zeroing workgroups for each compute unit: enough to keep every memory channel busy."""


GEOMETRY = (
    MAX_THREADS,
    MAX_ONESHOT_WORKGROUPS,
    PASS_TOKENS,
    MAX_CHUNKS,
    ZERO_THREADS_BYTES,
    ZERO_WORKGROUPS_PER_UNIT,
)
"""The constants above: with other ones the same code has other times."""


class OneshotTooLargeError(MoesortTuneError):
    """oneshot was asked for with more tokens than its LDS holds."""


@dataclass(frozen=True)
class DeviceLimits:
    """What launches depend on: compute units, lanes of a wave, LDS bytes of a workgroup."""

    arch: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int


@dataclass(frozen=True)
class Launch:
    """One kernel launch. zero_begin, zero_end: the bytes of moe_buf that it zeroes."""

    kernel: str
    grid: int
    block: int
    lds_bytes: int
    sorting_workgroups: int
    chunk_tokens: int
    pass_tokens: int
    zero_begin: int
    zero_end: int


def plan(kernel: KernelName, problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    """The launches of one sort by `kernel`. Raises OneshotTooLargeError where only multiphase is legal."""
    return _plan_oneshot(problem, limits) if kernel == "oneshot" else _plan_multiphase(problem, limits)


def workspace_bytes(problem: Problem) -> int:
    """Bytes of global memory through which multiphase's launches hand on."""
    return _chunks(problem) * problem.num_experts * 4


def _plan_oneshot(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    legal = oneshot_max_tokens(problem.num_experts, problem.topk, limits.lds_bytes)
    if problem.rows > legal:
        raise OneshotTooLargeError(
            f"oneshot takes at most {legal} tokens with {problem.num_experts} experts on {limits.arch} "
            f"(got {problem.rows}); use dispatch_policy=2 or 0"
        )
    block = _threads(problem, problem.pairs, limits)
    writes = max(problem.pairs, problem.num_experts * problem.unit_size)
    workgroups = min(MAX_ONESHOT_WORKGROUPS, max(1, -(-writes // block)))
    return (
        Launch(
            kernel="moe_sorting_oneshot",
            grid=workgroups + _zero_workgroups(problem.moe_buf_bytes, block, limits),
            block=block,
            lds_bytes=lds_bytes(problem.num_experts, problem.rows),
            sorting_workgroups=workgroups,
            chunk_tokens=0,
            pass_tokens=0,
            zero_begin=0,
            zero_end=problem.moe_buf_bytes,
        ),
    )


def _plan_multiphase(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    # The second launch has more to sort, so it zeroes the smaller part.
    cut = problem.moe_buf_bytes * 5 // 8 // 16 * 16
    parts = (("moe_sorting_count", 0, cut), ("moe_sorting_scatter", cut, problem.moe_buf_bytes))
    pass_tokens = min(PASS_TOKENS, max(WORD_TOKENS, round_up(problem.rows, WORD_TOKENS)))
    block = _threads(problem, min(problem.rows, pass_tokens) * problem.topk, limits)
    return tuple(
        Launch(
            kernel=kernel,
            grid=_chunks(problem) + _zero_workgroups(end - begin, block, limits),
            block=block,
            lds_bytes=lds_bytes(problem.num_experts, pass_tokens),
            sorting_workgroups=_chunks(problem),
            chunk_tokens=_chunk_tokens(problem),
            pass_tokens=pass_tokens,
            zero_begin=begin,
            zero_end=end,
        )
        for kernel, begin, end in parts
    )


def _chunk_tokens(problem: Problem) -> int:
    return max(PASS_TOKENS, round_up(-(-problem.rows // MAX_CHUNKS), PASS_TOKENS))


def _chunks(problem: Problem) -> int:
    return max(1, -(-problem.rows // _chunk_tokens(problem)))


def _threads(problem: Problem, pairs: int, limits: DeviceLimits) -> int:
    wanted = max(problem.num_experts, pairs, limits.wavefront_size)
    return min(MAX_THREADS, round_up(wanted, limits.wavefront_size))


def _zero_workgroups(zero_bytes: int, block: int, limits: DeviceLimits) -> int:
    wanted = -(-zero_bytes // (block * ZERO_THREADS_BYTES))
    return min(wanted, limits.compute_units * ZERO_WORKGROUPS_PER_UNIT)
