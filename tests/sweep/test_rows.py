"""Which points a row needs, and what they come to."""

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.rows import aiter_rule, legal_kernels, row_of, rungs_of
from moesort_tune.sweep.search import TokenRange
from moesort_tune.tables.schema import Evidence, Row

SHAPE = Shape(128, 4)
"""AITER's rule takes oneshot up to 56 tokens."""


def test_row_measures_oneshots_limit_and_both_sides_of_aiters_switch() -> None:
    """The last legal count of oneshot is where its win ends; without a measurement there the row would guess."""
    rungs = rungs_of(SHAPE, TokenRange(1, 500), 100)
    assert rungs == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 56, 57, 64, 96, 100, 128, 256, 500]


def test_row_that_starts_past_oneshots_limit_measures_powers_of_two() -> None:
    """One kernel alone has no winner to find: its line needs few points, and the last one asked for."""
    assert rungs_of(SHAPE, TokenRange(150, 2000), 100) == [256, 512, 1024, 2000]


def test_row_of_builtin_kernels_measures_both_sides_of_a_change_of_launches() -> None:
    """On an H100 oneshot of 257 experts is a sixth faster from 2305 tokens on: a jump that no ladder would see."""
    h100 = DeviceLimits("sm_90", 132, 32, 232448)
    tokens = TokenRange(2049, 2559)
    assert rungs_of(Shape(257, 9), tokens, 4096) == [2049, 2559]
    assert {2304, 2305} <= set(rungs_of(Shape(257, 9), tokens, 4096, h100))


def test_legal_kernels_are_both_up_to_oneshots_limit() -> None:
    """The limit itself is legal, the next count is not."""
    assert [legal_kernels(tokens, 100) for tokens in (100, 101)] == [(ONESHOT, MULTIPHASE), (MULTIPHASE,)]


def test_aiters_rule_switches_behind_its_last_count() -> None:
    """56 tokens of 128 experts still run oneshot."""
    assert [aiter_rule(SHAPE, tokens) for tokens in (56, 57)] == [ONESHOT, MULTIPHASE]


def point(verdict: Verdict, oneshot_us: float, multiphase_us: float, noise: float) -> MeasuredPoint:
    """A point at which both kernels were timed."""
    return MeasuredPoint({ONESHOT: oneshot_us, MULTIPHASE: multiphase_us}, verdict, noise)


def test_row_says_what_its_points_come_to() -> None:
    """Policy, ties and evidence; the noise is the median of the points', the loss that of AITER's rule at its worst."""
    points = {
        32: point(Verdict.MULTIPHASE, 9.0, 7.0, 0.01234567),
        8: point(Verdict.ONESHOT, 4.0, 5.0, 0.5),
        9: point(Verdict.TIE, 5.0, 5.0, 0.001),
        10: point(Verdict.MULTIPHASE, 6.0, 5.9, 0.01),
        64: MeasuredPoint({MULTIPHASE: 12.0}, Verdict.MULTIPHASE, 0.02),
    }
    assert row_of(SHAPE, 32, points) == Row(
        num_experts=128,
        topk=4,
        oneshot_max_tokens=32,
        policy=((1, ONESHOT), (10, MULTIPHASE)),
        tie=((9, 9), (11, 31)),  # nothing was measured between 10 and 32
        evidence=Evidence(points=5, noise=0.0123, rule_loss=1.286, tokens=(8, 64)),
    )
