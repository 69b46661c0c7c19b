"""Which points a row needs, and what they come to."""

import pytest

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.measure.verdict import Verdict
from moesort_tune.sorting.geometry import compute_limits
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.rows import build_row, choose_by_aiter_rule, list_rungs
from moesort_tune.sweep.search import TokenRange
from moesort_tune.tables.schema import Evidence, Row
from tests.sweep import invented
from tests.sweep.kernels import KERNELS, MANY, MULTIPHASE, ONE, ONESHOT, TIE, make_limits

SHAPE = Shape(128, 4)
"""AITER's rule takes oneshot up to 56 tokens."""

H100 = DeviceLimits("sm_90", 132, 32, 232448)
MI300X = DeviceLimits("gfx942", 304, 64, 65536)


def test_row_measures_oneshots_limit_and_both_sides_of_aiters_switch() -> None:
    """The last legal count of oneshot is where its win ends; without a measurement there the row would guess."""
    rungs = list_rungs(SHAPE, TokenRange(1, 500), make_limits(100), provider="aiter", device=H100)
    assert rungs == [*range(1, 33), 48, 56, 57, 64, 96, 100, 128, 256, 500]


def test_row_that_starts_past_oneshots_limit_measures_powers_of_two() -> None:
    """One kernel alone has no winner to find: its line needs few points, and the last one asked for."""
    assert list_rungs(SHAPE, TokenRange(150, 2000), make_limits(100), provider="aiter", device=H100) == [
        256,
        512,
        1024,
        2000,
    ]


def test_row_of_builtin_kernels_measures_both_sides_of_a_change_of_launches() -> None:
    """On an H100 oneshot of 257 experts is a sixth faster from 2305 tokens on: a jump that no ladder would see."""
    tokens = TokenRange(2049, 2559)
    assert list_rungs(Shape(257, 9), tokens, make_limits(4096), provider="aiter", device=H100) == [2049, 2559]
    assert {2304, 2305} <= set(list_rungs(Shape(257, 9), tokens, make_limits(4096), provider="builtin", device=H100))


@pytest.mark.parametrize(("device", "changes"), [(H100, (42,)), (MI300X, (42, 85))])
def test_row_of_builtin_kernels_measures_both_sides_of_each_word_of_wave(
    device: DeviceLimits, changes: tuple[int, ...]
) -> None:
    """With topk 3, 42 tokens are the last of four words of 32 lanes, or of two of 64, and 85 of four of those."""
    limits = compute_limits(128, 3, device)
    assert limits["wave"] == changes[-1]
    rungs = list_rungs(Shape(128, 3), TokenRange(33, 200), limits, provider="builtin", device=device)
    assert {*changes, *(last + 1 for last in changes)} <= set(rungs)


def test_legal_kernels_are_both_up_to_oneshots_limit() -> None:
    """The limit itself is legal, the next count is not."""
    assert [list_legal_kernels(tokens, make_limits(100)) for tokens in (100, 101)] == [
        (ONESHOT, MULTIPHASE),
        (MULTIPHASE,),
    ]


def test_aiters_rule_switches_behind_its_last_count() -> None:
    """56 tokens of 128 experts still run oneshot."""
    assert [choose_by_aiter_rule(SHAPE, tokens) for tokens in (56, 57)] == [ONESHOT, MULTIPHASE]


def make_point(verdict: Verdict, oneshot_us: float, multiphase_us: float, noise: float) -> MeasuredPoint:
    """Return a point at which both kernels were timed."""
    return MeasuredPoint({ONESHOT: oneshot_us, MULTIPHASE: multiphase_us}, verdict, noise)


def test_row_says_what_its_points_come_to() -> None:
    """Policy, ties and evidence; the noise is the median of the points', the loss that of AITER's rule at its worst."""
    points = {
        32: make_point(MANY, 9.0, 7.0, 0.01234567),
        8: make_point(ONE, 4.0, 5.0, 0.5),
        9: make_point(TIE, 5.0, 5.0, 0.001),
        10: make_point(MANY, 6.0, 5.9, 0.01),
        64: MeasuredPoint({MULTIPHASE: 12.0}, MANY, 0.02),
    }
    assert build_row(SHAPE, make_limits(32), points) == Row(
        num_experts=128,
        topk=4,
        limits={ONESHOT: 32},
        policy=((1, ONESHOT), (10, MULTIPHASE)),
        tie=((9, 9, KERNELS), (11, 31, KERNELS)),  # nothing was measured between 10 and 32
        evidence=Evidence(points=5, noise=0.0123, rule_loss=1.286, expected_loss=0.00052, tokens=(8, 64)),
    )


def test_row_of_three_measures_both_sides_of_a_limit_behind_which_two_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is best behind a limit is known only from counts behind it; behind the last limit there is no question."""
    invented.register(monkeypatch)
    limits = {"sprint": 40, "stride": 200, "march": MAX_TOKENS}
    rungs = list_rungs(SHAPE, TokenRange(5, 600), limits, provider="invented", device=H100)
    assert rungs == [*range(5, 33), 40, 41, 48, 64, 77, 96, 128, 192, 200, 256, 512, 600]


def test_row_of_three_leaves_stretches_that_nobody_measured_as_ties() -> None:
    """Between two sweeps nothing is known of any kernel that is legal there."""
    limits = {"sprint": 20, "stride": 200, "march": MAX_TOKENS}
    stride = Verdict(("stride",))
    times = {"sprint": 3.0, "stride": 2.0, "march": 4.0}
    points = {tokens: MeasuredPoint(times, stride, 0.0) for tokens in (1, 10, 30, 190, 300)}
    row = build_row(SHAPE, limits, points)
    assert row.tie == ((2, 9, ("sprint", "stride", "march")), (31, 189, ("stride", "march")))
    assert row.policy == ((1, "stride"), (201, "march"))
    assert (row.limits, row.evidence.rule_loss) == ({"sprint": 20, "stride": 200}, None)
