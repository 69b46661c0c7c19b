"""The timing engine, on synthetic times."""

import pytest

from moesort_tune.measure.clock_watch import ClockWatch
from moesort_tune.measure.engine import Engine, Measurement, TimingError, WarmUp
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sorting.problem import KERNELS
from tests.measure.synthetic import SyntheticTimer

RULE = StoppingRule(max_rounds=60)


def stopped_clock() -> float:
    """Seconds that never pass, so that only rounds limit a measurement."""
    return 0.0


def measured(timer: SyntheticTimer, seed: int = 0) -> Measurement:
    """Both kernels under RULE, without a time limit."""
    return Engine(timer, KERNELS, seed=seed, rule=RULE, clock=stopped_clock).measure()


@pytest.mark.parametrize(("oneshot_us", "verdict"), [(4.0, "oneshot"), (5.0, "tie"), (6.0, "multiphase")])
def test_engine_finds_the_faster_kernel_through_noise(oneshot_us: float, verdict: str) -> None:
    """Noise of 1 % a round does not hide a difference of 20 %, nor make one up."""
    measurement = measured(SyntheticTimer({ONESHOT: oneshot_us, MULTIPHASE: 5.0}, noise=0.01))
    assert measurement.verdict is Verdict(verdict)
    assert measurement.times_us[ONESHOT].median == pytest.approx(oneshot_us, rel=0.02)
    assert 0.0 < measurement.noise < 0.05


def test_engine_times_both_kernels_on_every_input_in_turn() -> None:
    """One lucky routing cannot decide, and both kernels always sort the same input."""
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0})
    measured(timer)
    rounds = list(zip(timer.variants_seen[::2], timer.variants_seen[1::2], strict=True))
    assert [first[1] for first, _ in rounds] == [turn % 3 for turn in range(len(rounds))]
    assert all(first[1] == second[1] and first[0] != second[0] for first, second in rounds)


def test_engine_draws_the_order_of_the_kernels_from_its_seed() -> None:
    """Neither kernel always runs first, and the same seed runs the same way."""
    orders = []
    for seed in (1, 1, 2):
        timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0})
        measured(timer, seed)
        orders.append([kernel for kernel, _ in timer.variants_seen[::2]])
    assert set(orders[0]) == {ONESHOT, MULTIPHASE}
    assert orders[0] == orders[1] != orders[2]


def test_engine_is_not_fooled_by_drift() -> None:
    """A clock that slows down all the time moves both kernels alike, so their ratio stands."""
    timer = SyntheticTimer({ONESHOT: 5.0, MULTIPHASE: 5.5}, speed=lambda turn: 1 + 0.001 * turn)
    measurement = measured(timer)
    assert measurement.verdict is Verdict.ONESHOT
    assert measurement.dropped == 0


def test_engine_drops_throttled_rounds_and_counts_them() -> None:
    """Rounds at another clock are left out of the times, and their number is told."""
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0}, speed=lambda turn: 1.5 if turn in (6, 8) else 1.0)
    measurement = measured(timer)
    assert measurement.dropped == 2
    assert measurement.times_us[ONESHOT].high == 4.0


def test_engine_warms_up_until_times_are_steady() -> None:
    """The slow first launches are not measured."""
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0}, speed=lambda turn: 10 / turn if turn < 5 else 1.0)
    measurement = measured(timer)
    assert measurement.times_us[ONESHOT].high == 4.0


@pytest.mark.parametrize(
    ("totals", "steady"),
    [
        ([4.0, 4.0], False),
        ([9.0, 4.0, 5.0, 4.0], True),
        ([4.0, 5.1, 4.0], False),
        ([1.0, 2.0, 1.0], False),
    ],
)
def test_warm_up_ends_when_its_last_rounds_agree(totals: list[float], steady: bool) -> None:
    """Within the tolerance, which is met by its own value, and whatever the rounds before them took."""
    assert WarmUp(tolerance=0.25, window=3).steady(totals) is steady


@pytest.mark.parametrize(
    ("warm_up", "rounds"),
    [(WarmUp(max_rounds=4), 4), (WarmUp(max_rounds=9, max_seconds=3.0), 3), (WarmUp(max_rounds=9, max_seconds=2.5), 3)],
)
def test_warm_up_of_an_unsteady_device_ends_at_its_limit(warm_up: WarmUp, rounds: int) -> None:
    """By rounds or by time since its own start, whatever the clock shows: a restless device cannot hold up a sweep."""
    seconds = iter(range(1000, 2000))
    ticking = (lambda: float(next(seconds))) if warm_up.max_rounds == 9 else stopped_clock
    timer = SyntheticTimer({MULTIPHASE: 5.0}, speed=lambda turn: 1.5 ** (turn % 2))
    Engine(timer, [MULTIPHASE], rule=RULE, warm_up=warm_up, clock=ticking)._warm()
    assert len(timer.variants_seen) == rounds


def test_engine_times_a_lone_kernel_without_a_question() -> None:
    """Past oneshot's limit multiphase is timed alone and has won."""
    timer = SyntheticTimer({MULTIPHASE: 5.0})
    measurement = Engine(timer, [MULTIPHASE], rule=RULE, clock=stopped_clock).measure()
    assert measurement.verdict is Verdict.MULTIPHASE
    assert measurement.stop is None
    assert measurement.rounds == RULE.min_rounds


@pytest.mark.parametrize("impossible", [0.0, -1.0, float("nan"), float("inf")])
def test_engine_refuses_impossible_times(impossible: float) -> None:
    """A kernel that did not run is an error and never wins by taking no time."""
    with pytest.raises(TimingError, match=r"oneshot took .* us, which cannot be"):
        measured(SyntheticTimer({ONESHOT: impossible, MULTIPHASE: 5.0}))


def test_engine_refuses_an_impossible_sentinel_by_its_name() -> None:
    """A sentinel that did not run would let every round pass for undisturbed."""
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0}, speed=lambda _: 0.0)
    with pytest.raises(TimingError, match=r"^the sentinel took 0 us, which cannot be"):
        measured(timer)


def test_engine_stops_at_its_time_limit_and_says_so() -> None:
    """An open question costs no more than it may."""
    seconds = iter(range(1000))
    timer = SyntheticTimer({ONESHOT: 5.0, MULTIPHASE: 5.0}, noise=0.2)
    rule = StoppingRule(max_seconds=10)
    warm_up = WarmUp(max_rounds=1)
    engine = Engine(timer, KERNELS, rule=rule, warm_up=warm_up, clock=lambda: float(next(seconds)))
    assert engine.measure().reason == "stopped at the limit of 10 s after 10 rounds"


def test_engine_gives_up_on_a_clock_that_never_rests() -> None:
    """If no round can be trusted there is no measurement, and the reason is told."""
    rule = StoppingRule(max_rounds=10)
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0}, speed=lambda turn: 2.0**turn)
    engine = Engine(timer, KERNELS, rule=rule, clock=stopped_clock)
    engine._watch = ClockWatch(deviations=0.0)
    with pytest.raises(TimingError, match="clock moved in each of 10 rounds"):
        engine.measure()


def test_engine_waits_for_a_restless_clock_as_patiently_as_for_rounds() -> None:
    """A device that never settles costs `patience` times the limit of a point, and neither less nor all the rounds."""
    seconds = iter(range(1000))
    rule = StoppingRule(max_rounds=100, max_seconds=2.0, patience=3.0)
    timer = SyntheticTimer({ONESHOT: 4.0, MULTIPHASE: 5.0}, speed=lambda turn: 2.0**turn)
    engine = Engine(timer, KERNELS, rule=rule, warm_up=WarmUp(max_rounds=1), clock=lambda: float(next(seconds)))
    engine._watch = ClockWatch(deviations=0.0)
    with pytest.raises(TimingError, match="clock moved in each of 6 rounds"):
        engine.measure()


def test_clock_watch_follows_a_clock_that_settled_elsewhere() -> None:
    """A lasting change costs half a window of rounds, not all that follow."""
    watch = ClockWatch()
    assert not any(watch.moved(5.0) for _ in range(100))
    moved = [watch.moved(6.0) for _ in range(30)]
    assert moved[:7] == [True] * 7
    assert not any(moved[15:])


def test_clock_watch_takes_a_move_for_one_past_its_tolerance() -> None:
    """A time off by the tolerance itself is still of the same clock, in both directions."""
    for sentinel_us, moved in ((6.25, False), (6.3, True), (3.75, False), (3.7, True)):
        watch = ClockWatch(tolerance=0.25)
        assert not any(watch.moved(5.0) for _ in range(5))
        assert watch.moved(sentinel_us) is moved


def test_clock_watch_allows_for_a_noisy_sentinel() -> None:
    """On a busy machine the sentinel's own noise is not taken for a change of the clock."""
    watch = ClockWatch()
    noisy = [5.0, 5.5, 4.6, 5.2, 4.8] * 6
    assert sum([watch.moved(sample) for sample in noisy][5:]) == 0
