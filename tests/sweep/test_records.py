"""From a measurement to lines of the samples file and back: nothing is believed that the times do not say."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Engine, Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sorting.problem import KERNELS
from moesort_tune.sweep.records import Conditions, MeasuredPoint, point_of, points_in, samples_of
from moesort_tune.sweep.samples import Sample
from tests.measure.synthetic import SyntheticTimer
from tests.sweep.fakes import FACTS

CONDITIONS = Conditions(FACTS, Settings(), 0.02)
SHAPE = Shape(128, 4)
LIMIT = 100


def measured(oneshot_us: float = 4.0, *, noise: float = 0.0, seed: int = 0, alone: bool = False) -> Measurement:
    """Against 5 us of multiphase, or that one alone; odd seeds have two rounds in which the clock moves."""
    speed = {turn: 1.5 for turn in (6, 8) if seed % 2}
    timer = SyntheticTimer(
        {ONESHOT: oneshot_us, MULTIPHASE: 5.0}, noise=noise, seed=seed, speed=lambda turn: speed.get(turn, 1.0)
    )
    kernels: tuple[KernelName, ...] = (MULTIPHASE,) if alone else KERNELS
    return Engine(timer, kernels, rule=StoppingRule(max_rounds=20), clock=lambda: 0.0).measure()


def lines_of(measurement: Measurement, tokens: int = 16, conditions: Conditions = CONDITIONS) -> list[Sample]:
    """The lines of one measurement."""
    return samples_of(measurement, conditions=conditions, shape=SHAPE, tokens=tokens, date="2026-11-22")


def read(lines: list[Sample], **changes: bool) -> dict[int, MeasuredPoint]:
    """The points that a sweep under CONDITIONS takes."""
    return points_in(lines, conditions=CONDITIONS, shape=SHAPE, oneshot_max_tokens=LIMIT, **changes)


@given(st.floats(4.5, 5.5), st.floats(0.0, 0.1), st.integers(0, 1000), st.booleans(), st.booleans())
def test_points_read_back_are_those_measured(
    oneshot_us: float, noise: float, seed: int, alone: bool, again: bool
) -> None:
    """Whatever was measured, a sweep that takes it over judges, warns and confirms as the one that measured it."""
    tokens = LIMIT + 1 if alone else LIMIT
    first = measured(oneshot_us, noise=noise, seed=seed, alone=alone)
    lines, last = lines_of(first, tokens), first
    if again and not alone:
        last = measured(oneshot_us, noise=noise, seed=seed + 1).confirming(first.verdict)
        lines += lines_of(last, tokens)
    known, live = read(lines)[tokens], point_of(last)
    for name in ("verdict", "settled", "rounds", "dropped", "confirmed"):
        assert getattr(known, name) == getattr(live, name)
    assert known.times_us == pytest.approx(live.times_us, rel=1e-4)


@pytest.mark.parametrize("said", ["multiphase", "tie"])
def test_verdict_against_its_own_times_is_judged_again(said: str) -> None:
    """A verdict that somebody wrote into the file is not believed: the ratio's interval and the margin decide."""
    lines = [dataclasses.replace(line, verdict=said) for line in lines_of(measured())]
    assert read(lines)[16].verdict is Verdict.ONESHOT


def test_ratio_against_its_own_times_is_no_measurement() -> None:
    """Where ratio and times contradict each other nobody knows which is right, so the point is measured again."""
    lines = [dataclasses.replace(line, ratio=1.3, ratio_low=1.25, ratio_high=1.35) for line in lines_of(measured())]
    assert read(lines) == {}
    without = [dataclasses.replace(line, ratio=None, ratio_low=None, ratio_high=None) for line in lines_of(measured())]
    assert read(without) == {}


def test_margin_of_this_sweep_judges_the_points_of_others() -> None:
    """A difference of 3 % is a win under 2 % and a tie under 5 %, whoever measured it."""
    wide = Conditions(FACTS, Settings(seed=7), 0.05)
    lines = lines_of(measured(5.15), conditions=wide)
    assert read(lines) == {}
    assert read(lines, any_seed=True)[16].verdict is Verdict.MULTIPHASE


@pytest.mark.parametrize(
    "other",
    [
        {"arch": "gfx942"},
        {"compute_units": 4},
        {"provider": "aiter"},
        {"revision": "0123"},
        {"timing": "eager"},
        {"settings": Settings(ep=4).signature() + ";margin=0.02"},
        {"settings": Settings(routing="zipf:1.2").signature() + ";margin=0.02"},
        {"device": "another"},
        {"device": ""},
        {"software": "hip=7.3.0"},
        {"software": ""},
        {"num_experts": 64},
        {"topk": 8},
    ],
)
@pytest.mark.parametrize("any_seed", [True, False])
def test_samples_of_other_conditions_are_not_taken(other: dict[str, object], any_seed: bool) -> None:
    """Other code, settings, devices and software are other measurements; so are those that do not say."""
    lines = [dataclasses.replace(line, **other) for line in lines_of(measured())]  # type: ignore[arg-type]
    assert read(lines_of(measured()), any_seed=any_seed)
    assert read(lines, any_seed=any_seed) == {}


@pytest.mark.parametrize("other", [Settings(seed=1), Settings()])
def test_samples_of_another_seed_or_margin_count_beside_but_not_instead(other: Settings) -> None:
    """--resume goes on with the same sweep; a row adds up what was measured alike."""
    conditions = Conditions(FACTS, other, 0.02 if other.seed else 0.01)
    lines = lines_of(measured(), conditions=conditions)
    assert read(lines) == {}
    assert set(read(lines, any_seed=True)) == {16}


def test_half_written_point_is_not_taken() -> None:
    """One kernel's line says nothing of which is faster, nor does a line of one measurement beside one of another."""
    first, second = lines_of(measured()), lines_of(measured(6.0))
    for half in (first[:1], first[1:], [first[0], second[1]], [second[0], first[1]]):
        assert read(half) == {}
    assert read([*first, second[0]])[16].verdict is Verdict.ONESHOT
    assert read([*first, *second])[16].verdict is Verdict.MULTIPHASE


def test_point_needs_the_kernels_that_are_legal_there() -> None:
    """Past oneshot's limit multiphase alone is a whole point, and one of both kernels is from another limit."""
    assert set(read(lines_of(measured(alone=True), LIMIT + 1))) == {LIMIT + 1}
    assert read(lines_of(measured(alone=True), LIMIT)) == {}
    assert read(lines_of(measured(), LIMIT + 1)) == {}


def test_equal_measurements_in_a_row_are_several() -> None:
    """A virtual clock gives the same line twice; both are whole."""
    assert set(read(lines_of(measured()) * 2)) == {16}
    assert set(read(lines_of(measured(alone=True), LIMIT + 1) * 2)) == {LIMIT + 1}


def test_confirmation_needs_the_measurement_that_it_confirms() -> None:
    """'Both times' is judged by both times; where the first is damaged, the second is a first."""
    first = measured()
    second = measured(6.0).confirming(first.verdict)
    lines = [*lines_of(first), *lines_of(second)]
    assert (read(lines)[16].verdict, read(lines)[16].confirmed) == (Verdict.TIE, True)
    alone = read(lines[1:])[16]
    assert (alone.verdict, alone.confirmed) == (Verdict.MULTIPHASE, False)


@pytest.mark.parametrize("alone", [True, False])
def test_dropped_rounds_are_read_back(alone: bool) -> None:
    """A clock that moved is told again whenever its points are used."""
    tokens = LIMIT + 1 if alone else LIMIT
    assert measured(seed=1, alone=alone).dropped == 2
    assert read(lines_of(measured(seed=1, alone=alone), tokens))[tokens].dropped == 2


def test_order_of_the_lines_decides_which_is_the_latest() -> None:
    """Files grow at their end, whatever days and rounds say."""
    lines = [lines_of(measured(us)) for us in (4.0, 6.0, 5.0)]
    random.Random(1).shuffle(lines)
    (point,) = read([line for pair in lines for line in pair]).values()
    assert point.times_us[ONESHOT] == pytest.approx(lines[-1][0].median_us, rel=1e-3)
