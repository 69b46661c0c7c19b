"""How a problem becomes launches: grid, workgroup, LDS, and which bytes of moe_buf each launch zeroes."""

from dataclasses import dataclass

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sorting.problem import KernelName, Problem
from moesort_tune.sorting.sizes import WORD_TOKENS, lds_bytes, oneshot_max_tokens, round_up

MAX_THREADS = 1024
"""Threads of the largest workgroup."""

ONESHOT_THREADS = 512
"""Threads of a sorting workgroup of oneshot, where there is work for them."""

FEW_CHUNKS_THREADS = 256
"""Threads of a sorting workgroup of multiphase while chunks are few: a smaller workgroup starts and meets sooner."""

MANY_CHUNKS_GROUPS = 4
"""With many chunks, a workgroup of multiphase has threads for this many groups, but no fewer than ONESHOT_THREADS."""

MAX_WRITING_WORKGROUPS = 32
"""Sorting workgroups that are there for the writing only; each works the whole layout out, so few are enough."""

MIN_CHUNK_TOKENS = 32
"""Tokens that a workgroup of multiphase owns, as long as there are compute units for the chunks."""

MAX_PASS_TOKENS = 256
"""Tokens whose bits a workgroup of multiphase holds at a time: with 1024 experts, 60 of the 64 KiB of LDS."""

FEW_CHUNKS = 4
"""Chunks whose counts one thread for each expert adds up: their loads are all in flight at once."""

MAX_CHUNK_GROUPS = 8
"""Groups of threads among which more chunks are divided."""

ZERO_THREADS_BYTES = 64
"""Bytes of moe_buf that one thread should zero, as long as there are workgroups left."""

ZERO_WORKGROUPS_PER_UNIT = 32
"""Zeroing workgroups for each compute unit: enough to keep every memory channel busy."""


FIRST_ZERO_EIGHTHS = 1
"""Share of moe_buf, in eighths, that multiphase's first launch zeroes: it has less to sort than the second."""

GEOMETRY = (
    MAX_THREADS,
    ONESHOT_THREADS,
    FEW_CHUNKS_THREADS,
    MANY_CHUNKS_GROUPS,
    MAX_WRITING_WORKGROUPS,
    MIN_CHUNK_TOKENS,
    MAX_PASS_TOKENS,
    FEW_CHUNKS,
    MAX_CHUNK_GROUPS,
    ZERO_THREADS_BYTES,
    ZERO_WORKGROUPS_PER_UNIT,
    FIRST_ZERO_EIGHTHS,
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
    chunks: int
    chunk_groups: int
    chunk_tokens: int
    pass_tokens: int
    zero_begin: int
    zero_end: int


def plan(kernel: KernelName, problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    """The launches of one sort by `kernel`. Raises OneshotTooLargeError where only multiphase is legal."""
    return _plan_oneshot(problem, limits) if kernel == "oneshot" else _plan_multiphase(problem, limits)


def workspace_bytes(problem: Problem, limits: DeviceLimits) -> int:
    """Bytes of global memory of the workspace of multiphase: counts and bits of every chunk and expert."""
    words = _chunks(problem, limits) * _chunk_tokens(problem, limits) // WORD_TOKENS
    return (_chunks(problem, limits) + words) * problem.num_experts * 4


def _plan_oneshot(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    legal = oneshot_max_tokens(problem.num_experts, problem.topk, limits.lds_bytes)
    if problem.rows > legal:
        raise OneshotTooLargeError(
            f"oneshot takes at most {legal} tokens with {problem.num_experts} experts on {limits.arch} "
            f"(got {problem.rows}); use dispatch_policy=2 or 0"
        )
    block = _threads(problem, max(problem.pairs, _padding_places(problem)), ONESHOT_THREADS, limits)
    workgroups = _writing_workgroups(problem, problem.pairs, block)
    return (
        Launch(
            kernel="moe_sorting_oneshot",
            grid=workgroups + _zero_workgroups(problem.moe_buf_bytes, block, limits),
            block=block,
            lds_bytes=lds_bytes(problem.num_experts, problem.rows),
            sorting_workgroups=workgroups,
            chunks=0,
            chunk_groups=1,
            chunk_tokens=0,
            pass_tokens=0,
            zero_begin=0,
            zero_end=problem.moe_buf_bytes,
        ),
    )


def _plan_multiphase(problem: Problem, limits: DeviceLimits) -> tuple[Launch, ...]:
    chunks, chunk_tokens = _chunks(problem, limits), _chunk_tokens(problem, limits)
    pass_tokens = min(chunk_tokens, MAX_PASS_TOKENS)
    pairs = pass_tokens * problem.topk
    many = max(ONESHOT_THREADS, MANY_CHUNKS_GROUPS * problem.num_experts)
    block = _threads(problem, MAX_THREADS, FEW_CHUNKS_THREADS if chunks <= FEW_CHUNKS else many, limits)
    groups = _chunk_groups(problem, chunks, block)
    cut = problem.moe_buf_bytes * FIRST_ZERO_EIGHTHS // 8 // 16 * 16
    parts = (
        ("moe_sorting_count", chunks, 0, cut),
        ("moe_sorting_scatter", max(chunks, _writing_workgroups(problem, pairs, block)), cut, problem.moe_buf_bytes),
    )
    return tuple(
        Launch(
            kernel=kernel,
            grid=sorting_workgroups + _zero_workgroups(end - begin, block, limits),
            block=block,
            lds_bytes=lds_bytes(problem.num_experts, pass_tokens) + _chunk_sums_bytes(problem, groups),
            sorting_workgroups=sorting_workgroups,
            chunks=chunks,
            chunk_groups=groups,
            chunk_tokens=chunk_tokens,
            pass_tokens=pass_tokens,
            zero_begin=begin,
            zero_end=end,
        )
        for kernel, sorting_workgroups, begin, end in parts
    )


def _chunk_tokens(problem: Problem, limits: DeviceLimits) -> int:
    """Tokens of a chunk: so many that there is at most one chunk for each compute unit."""
    share = -(-problem.rows // limits.compute_units)
    return max(MIN_CHUNK_TOKENS, round_up(share, WORD_TOKENS))


def _chunks(problem: Problem, limits: DeviceLimits) -> int:
    return max(1, -(-problem.rows // _chunk_tokens(problem, limits)))


def _chunk_groups(problem: Problem, chunks: int, block: int) -> int:
    """Groups of threads among which a workgroup adds up the chunks' counts; few chunks are not worth the meeting."""
    return 1 if chunks <= FEW_CHUNKS else max(1, min(MAX_CHUNK_GROUPS, block // problem.num_experts))


def _chunk_sums_bytes(problem: Problem, groups: int) -> int:
    return 0 if groups == 1 else 2 * groups * problem.num_experts * 4


def _threads(problem: Problem, work: int, limit: int, limits: DeviceLimits) -> int:
    """Threads of a workgroup: one for each piece of work up to `limit`, and one for each expert at least."""
    wanted = max(problem.num_experts, min(work, limit))
    return min(MAX_THREADS, round_up(wanted, limits.wavefront_size))


def _padding_places(problem: Problem) -> int:
    """Rows that may be padding: as many in each expert's last tile."""
    return problem.num_experts * problem.unit_size


def _writing_workgroups(problem: Problem, pairs: int, block: int) -> int:
    """Workgroups among which the writing of pairs and padding is shared."""
    places = max(pairs, _padding_places(problem))
    return min(MAX_WRITING_WORKGROUPS, max(1, -(-places // block)))


def _zero_workgroups(zero_bytes: int, block: int, limits: DeviceLimits) -> int:
    wanted = -(-zero_bytes // (block * ZERO_THREADS_BYTES))
    return min(wanted, limits.compute_units * ZERO_WORKGROUPS_PER_UNIT)
