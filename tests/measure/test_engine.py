"""The timing engine, on synthetic times."""

import pytest

from moesort_tune.measure.clock_watch import ClockWatch
from moesort_tune.measure.engine import ONE_ROUND, Engine, Measurement, TimingError, WarmUp
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import Verdict
from tests.measure.synthetic import SyntheticTimer

RULE = StoppingRule(max_rounds=60)

FIRST, SECOND, THIRD = "first", "second", "third"
BOTH = (FIRST, SECOND)


def stop_clock() -> float:
    """Return seconds that do not pass, so that only rounds limit a measurement."""
    return 0.0


def measure(timer: SyntheticTimer, seed: int = 0) -> Measurement:
    """Measure the timer's candidates under RULE, without a time limit."""
    return Engine(timer, tuple(timer.times_us), seed=seed, rule=RULE, clock=stop_clock).measure()


@pytest.mark.parametrize(("first_us", "best"), [(4.0, (FIRST,)), (5.0, BOTH), (6.0, (SECOND,))])
def test_engine_finds_the_faster_candidate_through_noise(first_us: float, best: tuple[str, ...]) -> None:
    """Noise of 1 % a round does not hide a difference of 20 %, nor make one up."""
    measurement = measure(SyntheticTimer({FIRST: first_us, SECOND: 5.0}, noise=0.01))
    assert measurement.verdict == Verdict(best)
    assert measurement.times_us[FIRST].median == pytest.approx(first_us, rel=0.02)
    assert 0.0 < measurement.noise < 0.05


def test_engine_times_all_candidates_on_every_input_in_turn() -> None:
    """One lucky routing cannot decide, and both candidates always get the same input."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0})
    measure(timer)
    rounds = list(zip(timer.variants_seen[::2], timer.variants_seen[1::2], strict=True))
    assert [first[1] for first, _ in rounds] == [turn % 3 for turn in range(len(rounds))]
    assert all(first[1] == second[1] and first[0] != second[0] for first, second in rounds)


def test_engine_draws_the_order_of_the_candidates_from_its_seed() -> None:
    """Neither candidate always runs first, and the same seed runs the same way."""
    orders = []
    for seed in (1, 1, 2):
        timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0})
        measure(timer, seed)
        orders.append([name for name, _ in timer.variants_seen[::2]])
    assert set(orders[0]) == {FIRST, SECOND}
    assert orders[0] == orders[1] != orders[2]


def test_engine_runs_every_second_round_backwards() -> None:
    """Few rounds drawn by chance may put one candidate first in nearly all of them, and a drifting clock last."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0, THIRD: 6.0})
    measure(timer)
    order = [name for name, _ in timer.variants_seen]
    pairs = [(order[at : at + 3], order[at + 3 : at + 6]) for at in range(0, len(order) - 5, 6)]
    assert all(back == there[::-1] for there, back in pairs)


def test_engine_is_not_fooled_by_drift() -> None:
    """A clock that slows down all the time moves both candidates alike, so their ratio stands."""
    timer = SyntheticTimer({FIRST: 5.0, SECOND: 5.5}, speed=lambda turn: 1 + 0.001 * turn)
    measurement = measure(timer)
    assert measurement.verdict == Verdict((FIRST,))
    assert measurement.dropped == 0


def test_engine_drops_throttled_rounds_and_counts_them() -> None:
    """Rounds at another clock are left out of the times, and their number is kept."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda turn: 1.5 if turn in (6, 8) else 1.0)
    measurement = measure(timer)
    assert measurement.dropped == 2
    assert measurement.times_us[FIRST].high == 4.0


def test_engine_warms_up_until_times_are_steady() -> None:
    """The slow first launches are not measured."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda turn: 10 / turn if turn < 5 else 1.0)
    measurement = measure(timer)
    assert measurement.times_us[FIRST].high == 4.0


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
    assert WarmUp(tolerance=0.25, window=3).is_steady(totals) is steady


@pytest.mark.parametrize(
    ("warm_up", "rounds"),
    [(WarmUp(max_rounds=4), 4), (WarmUp(max_rounds=9, max_seconds=3.0), 3), (WarmUp(max_rounds=9, max_seconds=2.5), 3)],
)
def test_warm_up_of_an_unsteady_device_ends_at_its_limit(warm_up: WarmUp, rounds: int) -> None:
    """By rounds or by time since its own start, whatever the clock shows: a restless device cannot hold up a sweep."""
    seconds = iter(range(1000, 2000))
    ticking = (lambda: float(next(seconds))) if warm_up.max_rounds == 9 else stop_clock
    timer = SyntheticTimer({SECOND: 5.0}, speed=lambda turn: 1.5 ** (turn % 2))
    Engine(timer, [SECOND], rule=RULE, warm_up=warm_up, clock=ticking)._warm()
    assert len(timer.variants_seen) == rounds


def test_engine_times_a_lone_candidate_without_a_question() -> None:
    """Where one candidate alone may run it is timed and has won."""
    timer = SyntheticTimer({SECOND: 5.0})
    measurement = Engine(timer, [SECOND], rule=RULE, clock=stop_clock).measure()
    assert measurement.verdict == Verdict((SECOND,))
    assert (measurement.stop.comparisons, measurement.settled) == ((), True)
    assert measurement.noise == 0.0
    assert measurement.reason == f"timed alone in {RULE.min_rounds} rounds"
    assert measurement.rounds == RULE.min_rounds


@pytest.mark.parametrize("impossible", [0.0, -1.0, float("nan"), float("inf")])
def test_engine_refuses_impossible_times(impossible: float) -> None:
    """A candidate that did not run is an error and never wins by taking no time."""
    with pytest.raises(TimingError, match=r"first took .* us, which cannot be"):
        measure(SyntheticTimer({FIRST: impossible, SECOND: 5.0}))


def test_engine_refuses_an_impossible_sentinel_by_its_name() -> None:
    """A sentinel that did not run would let every round pass for undisturbed."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda _: 0.0)
    with pytest.raises(TimingError, match=r"^the sentinel took 0 us, which cannot be"):
        measure(timer)


def test_engine_stops_at_its_time_limit_and_says_so() -> None:
    """An open question costs no more than it may."""
    seconds = iter(range(1000))
    timer = SyntheticTimer({FIRST: 5.0, SECOND: 5.0}, noise=0.2)
    rule = StoppingRule(max_seconds=10)
    warm_up = WarmUp(max_rounds=1)
    engine = Engine(timer, BOTH, rule=rule, warm_up=warm_up, clock=lambda: float(next(seconds)))
    assert engine.measure().reason == "stopped at the limit of 10 s after 10 rounds"


def test_engine_gives_up_on_a_clock_that_never_rests() -> None:
    """If no round can be trusted there is no measurement, and the reason is given."""
    rule = StoppingRule(max_rounds=10)
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda turn: 2.0**turn)
    engine = Engine(timer, BOTH, rule=rule, clock=stop_clock)
    engine._watch = ClockWatch(deviations=0.0)
    with pytest.raises(TimingError, match="clock moved in each of 10 rounds"):
        engine.measure()


def test_engine_waits_for_a_restless_clock_as_patiently_as_for_rounds() -> None:
    """A device that never settles costs `patience` times the limit of a point, and neither less nor all the rounds."""
    seconds = iter(range(1000))
    rule = StoppingRule(max_rounds=100, max_seconds=2.0, patience=3.0)
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda turn: 2.0**turn)
    engine = Engine(timer, BOTH, rule=rule, warm_up=WarmUp(max_rounds=1), clock=lambda: float(next(seconds)))
    engine._watch = ClockWatch(deviations=0.0)
    with pytest.raises(TimingError, match="clock moved in each of 6 rounds"):
        engine.measure()


def test_clock_watch_follows_a_clock_that_settled_elsewhere() -> None:
    """A lasting change costs half a window of rounds, not all that follow."""
    watch = ClockWatch()
    assert not any(watch.has_moved(5.0) for _ in range(100))
    moved = [watch.has_moved(6.0) for _ in range(30)]
    assert moved[:7] == [True] * 7
    assert not any(moved[15:])


def test_clock_watch_takes_a_move_for_one_past_its_tolerance() -> None:
    """A time off by the tolerance itself is still of the same clock, in both directions."""
    for sentinel_us, moved in ((6.25, False), (6.3, True), (3.75, False), (3.7, True)):
        watch = ClockWatch(tolerance=0.25)
        assert not any(watch.has_moved(5.0) for _ in range(5))
        assert watch.has_moved(sentinel_us) is moved


def test_clock_watch_allows_for_a_noisy_sentinel() -> None:
    """On a busy machine the sentinel's own noise is not taken for a change of the clock."""
    watch = ClockWatch()
    noisy = [5.0, 5.5, 4.6, 5.2, 4.8] * 6
    assert sum([watch.has_moved(sample) for sample in noisy][5:]) == 0


def test_engine_times_any_number_of_candidates() -> None:
    """Each round takes each of them once; the ranking, the times and the paired samples are of all."""
    timer = SyntheticTimer({FIRST: 6.0, SECOND: 4.0, THIRD: 4.01}, noise=0.001)
    measurement = measure(timer)
    assert (measurement.verdict.best, measurement.verdict.others) == ((SECOND, THIRD), (FIRST,))
    assert list(measurement.times_us) == [FIRST, SECOND, THIRD]
    rounds = [timer.variants_seen[at : at + 3] for at in range(0, len(timer.variants_seen), 3)]
    assert all({name for name, _ in one} == {FIRST, SECOND, THIRD} for one in rounds)
    assert all(len({variant for _, variant in one}) == 1 for one in rounds)
    assert {one[0][0] for one in rounds} == {FIRST, SECOND, THIRD}
    assert [len(samples) for samples in measurement.samples_us.values()] == [measurement.rounds] * 3


def test_noise_is_that_of_the_noisiest_comparison() -> None:
    """Protects evidence: a row names the noise that could have hidden a winner."""
    measurement = measure(SyntheticTimer({FIRST: 6.0, SECOND: 4.0, THIRD: 5.0}, noise=0.01))
    assert measurement.noise == max(comparison.noise for comparison in measurement.stop.comparisons) > 0.0


def test_engine_without_a_sentinel_drops_nothing() -> None:
    """A serving process has none, and whole runs are their own: every round counts, whatever the clock does."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 5.0}, speed=lambda turn: 1.5 ** (turn % 2), watched=False)
    measurement = measure(timer)
    assert measurement.dropped == 0
    assert set(measurement.samples_us[FIRST]) == {4.0, 6.0}
    assert measurement.verdict == Verdict((FIRST,))


@pytest.mark.parametrize("rounds", [1, 5])
def test_engine_runs_exactly_the_rounds_of_a_fixed_rule(rounds: int) -> None:
    """One round warms up, as a graph's first replay must; those that were asked for count."""
    timer = SyntheticTimer({FIRST: 4.0, SECOND: 8.0}, watched=False)
    measurement = Engine(timer, BOTH, rule=StoppingRule.make_fixed(rounds), warm_up=ONE_ROUND).measure()
    assert measurement.rounds == rounds
    assert len(timer.variants_seen) == 2 * (rounds + 1)


def test_engine_without_candidates_is_an_error() -> None:
    """Protects from a measurement that never ends."""
    with pytest.raises(ValueError, match="at least one candidate"):
        Engine(SyntheticTimer({}), ())


def test_second_measurement_keeps_what_both_agree_on() -> None:
    """Protects tables from noise that comes in bursts: two unlike verdicts are a tie of what either called best."""
    measurement = measure(SyntheticTimer({FIRST: 4.0, SECOND: 5.0, THIRD: 6.0}))
    same = measurement.confirm(Verdict((FIRST,), (THIRD, SECOND)))
    assert (same.verdict, same.confirmed) == (Verdict((FIRST,)), True)
    assert same.reason == f"both times first; {measurement.reason}"
    other = measurement.confirm(Verdict((SECOND,)))
    assert other.verdict == Verdict((FIRST, SECOND))
    assert other.reason == f"both times tie; {measurement.reason}"
