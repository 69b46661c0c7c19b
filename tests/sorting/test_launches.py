"""Launches of problems, for every supported device."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_EXPERTS
from moesort_tune.shipped import get_kernels_folder
from moesort_tune.sorting.arguments import compute_divisor
from moesort_tune.sorting.geometry import WORD_TOKENS, compute_limits, compute_oneshot_max_tokens
from moesort_tune.sorting.launches import (
    KERNELS,
    MOST_WORD_CHUNKS,
    WAVE_KERNELS,
    WAVE_THREADS,
    WORDS_IN_FLIGHT,
    KernelTooLargeError,
    compute_workspace_bytes,
    plan,
)
from moesort_tune.sorting.problem import Problem

UMULHI_BITS = 32
OFFSETS_END = 1 << 32
"""Bytes that 32-bit offsets reach."""

H100 = DeviceLimits("sm_90", 132, 32, 232448)
MI300X = DeviceLimits("gfx942", 304, 64, 65536)
MI355X = DeviceLimits("gfx950", 256, 64, 163840)


@st.composite
def draw_problem(draw: st.DrawFn) -> Problem:
    """Return any problem of the contract."""
    num_experts = draw(st.integers(1, 1024))
    topk = draw(st.integers(1, min(num_experts, 255)))
    rows = draw(st.integers(0, 2**24 - 1) | st.integers(0, 4096))
    unit_size = draw(st.integers(1, 1024))
    most_rows = (2**31 - 1 - num_experts * unit_size + topk) // topk
    return Problem(min(rows, most_rows), topk, num_experts, unit_size, draw(st.integers(0, 2**40)))


@st.composite
def draw_device(draw: st.DrawFn) -> DeviceLimits:
    """Return any architecture with any number of compute units."""
    architecture = draw(st.sampled_from(list(ARCHITECTURES.values())))
    units = draw(st.integers(1, 304))
    return DeviceLimits(architecture.name, units, architecture.wavefront_size, architecture.lds_bytes)


@given(draw_problem(), draw_device(), st.sampled_from(KERNELS))
def test_launches_fit_every_device(problem: Problem, limits: DeviceLimits, kernel: str) -> None:
    """Protects launches from being refused: LDS, threads and grids stay within what every device has."""
    try:
        launches = plan(kernel, problem, limits)
    except KernelTooLargeError:
        assert problem.rows > compute_limits(problem.num_experts, problem.topk, limits)[kernel]
        return
    for launch in launches:
        assert 0 <= launch.lds_bytes <= limits.lds_bytes
        assert 0 < launch.block <= 1024
        assert kernel == "wave" or problem.num_experts <= launch.block
        assert launch.block % limits.wavefront_size == 0
        assert 0 < launch.sorting_workgroups <= launch.grid < 2**31
        assert launch.zero_end == launch.zero_begin or launch.grid > launch.sorting_workgroups


@given(draw_problem(), draw_device())
def test_multiphase_chunks_cover_the_rows(problem: Problem, limits: DeviceLimits) -> None:
    """Protects every row from being left out, the workspace from being too small, and counts from 16 bits."""
    for launch in plan("multiphase", problem, limits):
        assert launch.chunks * launch.chunk_tokens >= problem.rows
        assert launch.chunk_tokens % 32 == 0
        assert launch.chunk_tokens * problem.topk <= 65535
        assert launch.pass_tokens <= launch.chunk_tokens
        assert launch.chunks <= launch.sorting_workgroups
        words = launch.chunks * launch.chunk_tokens // 32
        counts = 0 if launch.kernel.endswith(("_word", "_words")) else launch.chunks
        assert compute_workspace_bytes(problem, limits) == 4 * launch.chunks + problem.num_experts * (
            4 * words + 2 * counts
        )


@given(draw_problem(), draw_device())
@example(Problem(256, 32, 1024, 1024), MI300X)
@example(Problem(256, 33, 1024, 1024), MI300X)
@example(Problem(2048, 8, 1024, 1024), MI300X)
@example(Problem(2048, 8, 128, 32), MI300X)
@example(Problem(768, 10, 512, 32), H100)
def test_words_are_all_stored_before_they_are_loaded(problem: Problem, limits: DeviceLimits) -> None:
    """Protects `_word` and `_words` from words that nobody stored: they load whole batches, each a workgroup's word."""
    count, scatter = plan("multiphase", problem, limits)
    assert count.kernel.endswith("_word") == scatter.kernel.endswith(("_word", "_words"))
    if not count.kernel.endswith("_word"):
        return
    assert count.chunk_tokens == WORD_TOKENS
    assert count.sorting_workgroups == count.chunks
    if scatter.kernel.endswith("_word"):
        assert scatter.chunks in {WORDS_IN_FLIGHT, 2 * WORDS_IN_FLIGHT}
        return
    assert scatter.chunks_per_group % (2 * WORDS_IN_FLIGHT) == 0
    assert scatter.chunk_groups * scatter.chunks_per_group == scatter.chunks <= MOST_WORD_CHUNKS
    assert scatter.chunk_groups * problem.num_experts <= scatter.block


@given(draw_problem(), draw_device())
@example(Problem(64, 2, 8), MI300X)
@example(Problem(1, 255, 255), H100)
def test_waves_hold_every_pair_and_exchange_within_their_lds(problem: Problem, limits: DeviceLimits) -> None:
    """Protects pairs without a lane, waves that hold none, tiles that no wave writes, and what is exchanged."""
    most = compute_limits(problem.num_experts, problem.topk, limits)["wave"]
    (launch,) = plan("wave", replace(problem, rows=min(problem.rows, most)), limits)
    assert launch.kernel in WAVE_KERNELS
    words = int(launch.kernel.rpartition("_")[2])
    lanes = words * limits.wavefront_size
    assert min(problem.rows, most) * problem.topk <= lanes
    assert launch.block == max(WAVE_THREADS, lanes)
    assert launch.block % lanes == 0
    assert launch.sorting_workgroups.bit_count() == 1
    assert launch.lds_bytes == (0 if words == 1 else lanes // 8 * 13)


def test_constants_are_the_kernels_own() -> None:
    """Protects chunks, workgroups and LDS from other numbers than the kernels are compiled with."""
    multiphase = (get_kernels_folder() / "multiphase.hip").read_text()
    assert f"constexpr uint32_t kMostWordChunks = {MOST_WORD_CHUNKS};" in multiphase
    wave = (get_kernels_folder() / "wave.hip").read_text()
    assert f"constexpr uint32_t kThreads = {WAVE_THREADS};" in wave
    assert f"constexpr uint32_t kBits = {(MAX_EXPERTS - 1).bit_length()};" in wave
    source = (get_kernels_folder() / "multiphase.hip").read_text()
    assert f"constexpr uint32_t kWordsInFlight = {WORDS_IN_FLIGHT};" in source
    layout = (get_kernels_folder() / "layout.h").read_text()
    assert f"constexpr uint32_t kWordTokens = {WORD_TOKENS};" in layout


@given(draw_problem(), draw_device(), st.sampled_from(KERNELS))
@example(Problem(256, 32, 1024, 1024), MI300X, "multiphase")
@example(Problem(1024, 1, 1024, 1024), MI355X, "oneshot")
@example(Problem((1 << 24) - 1, 1, 1024, 1024), MI300X, "multiphase")
@example(Problem(8192, 4, 1024, 1024), MI300X, "multiphase")
def test_variants_for_few_tokens_have_threads_and_offsets_enough(
    problem: Problem, limits: DeviceLimits, kernel: str
) -> None:
    """Protects variants without a loop over pairs, and with 32-bit offsets, from problems too large for them."""
    if problem.rows > compute_limits(problem.num_experts, problem.topk, limits)[kernel]:
        return
    for launch in plan(kernel, problem, limits):
        if launch.kernel.endswith(("_many", "_most")):
            continue
        own_rows = launch.chunk_tokens if kernel == "multiphase" else problem.rows
        assert own_rows * problem.topk <= launch.block
        arrays = [own_rows * problem.topk * 4, compute_workspace_bytes(problem, limits)]
        if launch.kernel != "moe_sorting_count":  # which writes nothing but its workspace
            arrays += [problem.pairs * 4, problem.max_padded * 4, problem.max_tiles * 4]
        assert max(arrays) < OFFSETS_END


@given(draw_problem(), draw_device(), st.sampled_from(KERNELS))
def test_launches_zero_moe_buf_whole_and_once(problem: Problem, limits: DeviceLimits, kernel: str) -> None:
    """Protects moe_buf between two launches: the parts meet, and begin at 16 bytes."""
    if problem.rows > compute_limits(problem.num_experts, problem.topk, limits)[kernel]:
        return
    launches = plan(kernel, problem, limits)
    ends = [0] + [launch.zero_end for launch in launches]
    assert [launch.zero_begin for launch in launches] == ends[:-1]
    assert ends[-1] == problem.moe_buf_bytes
    assert all(launch.zero_begin % 16 == 0 for launch in launches)


def test_oneshot_too_large_says_what_to_do() -> None:
    """Protects the message: the limit, what was asked for, and the way out."""
    limits = DeviceLimits("gfx942", 304, 64, 65536)
    with pytest.raises(KernelTooLargeError) as error:
        plan("oneshot", Problem(5000, 4, 128), limits)
    limit = compute_oneshot_max_tokens(128, 4, 65536)
    assert str(error.value) == (
        f"oneshot takes at most {limit} tokens with 128 experts on gfx942 (got 5000); use dispatch_policy=2 or 0"
    )


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_divisor_divides_exactly(value: int, number: int) -> None:
    """Protects tokens, slots and tiles from being off by one at any size."""
    by = compute_divisor(value)
    assert by.multiplier < 2**32
    assert ((2 * number * by.multiplier) >> UMULHI_BITS) >> by.shift == number // value
