"""From a measurement to lines of the samples file and back: nothing is believed that the times do not say."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.measure.engine import Engine, Measurement
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.verdict import Verdict
from moesort_tune.sweep.card_points import find_points
from moesort_tune.sweep.records import Conditions, MeasuredPoint, build_point, build_samples
from moesort_tune.sweep.samples import Sample
from tests.measure.synthetic import SyntheticTimer
from tests.sweep.fakes import FACTS
from tests.sweep.kernels import KERNELS, MANY, MULTIPHASE, ONE, ONESHOT, TIE, make_limits

CONDITIONS = Conditions(FACTS, Settings(), 0.02)
SHAPE = Shape(128, 4)
LIMIT = 100


def make_measurement(oneshot_us: float = 4.0, *, noise: float = 0.0, seed: int = 0, alone: bool = False) -> Measurement:
    """Return a measurement against 5 us of multiphase, or of that alone; odd seeds drop two rounds."""
    speed = {turn: 1.5 for turn in (6, 8) if seed % 2}
    timer = SyntheticTimer(
        {ONESHOT: oneshot_us, MULTIPHASE: 5.0}, noise=noise, seed=seed, speed=lambda turn: speed.get(turn, 1.0)
    )
    kernels: tuple[KernelName, ...] = (MULTIPHASE,) if alone else KERNELS
    return Engine(timer, kernels, rule=StoppingRule(max_rounds=20), clock=lambda: 0.0).measure()


def build_lines(measurement: Measurement, tokens: int = 16, conditions: Conditions = CONDITIONS) -> list[Sample]:
    """Return the lines of one measurement."""
    return build_samples(measurement, conditions=conditions, shape=SHAPE, tokens=tokens, date="2026-11-22")


def read(lines: list[Sample], **changes: bool) -> dict[int, MeasuredPoint]:
    """Return the points that a sweep under CONDITIONS takes."""
    return find_points(lines, conditions=CONDITIONS, shape=SHAPE, limits=make_limits(LIMIT), **changes)


@given(st.floats(4.5, 5.5), st.floats(0.0, 0.1), st.integers(0, 1000), st.booleans(), st.booleans())
def test_points_read_back_are_those_measured(
    oneshot_us: float, noise: float, seed: int, alone: bool, again: bool
) -> None:
    """Whatever was measured, a sweep that takes it over judges, warns and confirms as the one that measured it."""
    tokens = LIMIT + 1 if alone else LIMIT
    first = make_measurement(oneshot_us, noise=noise, seed=seed, alone=alone)
    lines, last = build_lines(first, tokens), first
    if again and not alone:
        last = make_measurement(oneshot_us, noise=noise, seed=seed + 1).confirm(first.verdict)
        lines += build_lines(last, tokens)
    known, live = read(lines)[tokens], build_point(last)
    for name in ("verdict", "settled", "rounds", "dropped", "confirmed"):
        assert getattr(known, name) == getattr(live, name)
    assert known.times_us == pytest.approx(live.times_us, rel=1e-4)


@pytest.mark.parametrize("said", ["multiphase", "oneshot=multiphase"])
def test_verdict_against_its_own_times_is_judged_again(said: str) -> None:
    """A verdict that somebody wrote into the file is not believed: the ratio's interval and the margin decide."""
    lines = [dataclasses.replace(line, verdict=said) for line in build_lines(make_measurement())]
    assert read(lines)[16].verdict == ONE


def test_ratio_against_its_own_times_is_no_measurement() -> None:
    """Where ratio and times contradict each other nobody knows which is right, so the point is measured again."""
    lines = [
        dataclasses.replace(line, ratio=1.3, ratio_low=1.25, ratio_high=1.35)
        for line in build_lines(make_measurement())
    ]
    assert read(lines) == {}
    without = [
        dataclasses.replace(line, ratio=None, ratio_low=None, ratio_high=None)
        for line in build_lines(make_measurement())
    ]
    assert read(without) == {}


def test_margin_of_this_sweep_judges_the_points_of_others() -> None:
    """A difference of 3 % is a win under 2 % and a tie under 5 %, whoever measured it."""
    wide = Conditions(FACTS, Settings(seed=7), 0.05)
    lines = build_lines(make_measurement(5.15), conditions=wide)
    assert read(lines) == {}
    assert read(lines, any_seed=True)[16].verdict == MANY


@pytest.mark.parametrize(
    "other",
    [
        {"arch": "gfx942"},
        {"compute_units": 4},
        {"provider": "aiter"},
        {"revision": "0123"},
        {"timing": "eager"},
        {"settings": Settings(ep=4).format_signature() + ";margin=0.02"},
        {"settings": Settings(routing="zipf:1.2").format_signature() + ";margin=0.02"},
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
    lines = [dataclasses.replace(line, **other) for line in build_lines(make_measurement())]  # type: ignore[arg-type]
    assert read(build_lines(make_measurement()), any_seed=any_seed)
    assert read(lines, any_seed=any_seed) == {}


@pytest.mark.parametrize("other", [Settings(seed=1), Settings()])
def test_samples_of_another_seed_or_margin_count_beside_but_not_instead(other: Settings) -> None:
    """--resume goes on with the same sweep; a row adds up what was measured alike."""
    conditions = Conditions(FACTS, other, 0.02 if other.seed else 0.01)
    lines = build_lines(make_measurement(), conditions=conditions)
    assert read(lines) == {}
    assert set(read(lines, any_seed=True)) == {16}


def test_half_written_point_is_not_taken() -> None:
    """One kernel's line says nothing of which is faster, nor does a line of one measurement beside one of another."""
    first, second = build_lines(make_measurement()), build_lines(make_measurement(6.0))
    for half in (first[:1], first[1:], [first[0], second[1]], [second[0], first[1]]):
        assert read(half) == {}
    assert read([*first, second[0]])[16].verdict == ONE
    assert read([*first, *second])[16].verdict == MANY


def test_point_needs_the_kernels_that_are_legal_there() -> None:
    """Past oneshot's limit multiphase alone is a whole point, and one of both kernels is from another limit."""
    assert set(read(build_lines(make_measurement(alone=True), LIMIT + 1))) == {LIMIT + 1}
    assert read(build_lines(make_measurement(alone=True), LIMIT)) == {}
    assert read(build_lines(make_measurement(), LIMIT + 1)) == {}


def test_equal_measurements_in_a_row_are_several() -> None:
    """A virtual clock gives the same line twice; both are whole."""
    assert set(read(build_lines(make_measurement()) * 2)) == {16}
    assert set(read(build_lines(make_measurement(alone=True), LIMIT + 1) * 2)) == {LIMIT + 1}


def test_confirmation_needs_the_measurement_that_it_confirms() -> None:
    """'Both times' is judged by both times; where the first is damaged, the second is a first."""
    first = make_measurement()
    second = make_measurement(6.0).confirm(first.verdict)
    lines = [*build_lines(first), *build_lines(second)]
    assert (read(lines)[16].verdict, read(lines)[16].confirmed) == (TIE, True)
    alone = read(lines[1:])[16]
    assert (alone.verdict, alone.confirmed) == (MANY, False)


@pytest.mark.parametrize("alone", [True, False])
def test_dropped_rounds_are_read_back(alone: bool) -> None:
    """A clock that moved is reported again whenever its points are used."""
    tokens = LIMIT + 1 if alone else LIMIT
    assert make_measurement(seed=1, alone=alone).dropped == 2
    assert read(build_lines(make_measurement(seed=1, alone=alone), tokens))[tokens].dropped == 2


def test_order_of_the_lines_decides_which_is_the_latest() -> None:
    """Files grow at their end, whatever days and rounds say."""
    lines = [build_lines(make_measurement(us)) for us in (4.0, 6.0, 5.0)]
    random.Random(1).shuffle(lines)
    (point,) = read([line for pair in lines for line in pair]).values()
    assert point.times_us[ONESHOT] == pytest.approx(lines[-1][0].median_us, rel=1e-3)


THREE = {"wave": 64, "oneshot": 100, "multiphase": MAX_TOKENS}


def measure_three(wave_us: float, oneshot_us: float, noise: float, seed: int) -> Measurement:
    """Return the comparison with 5 us of multiphase."""
    timer = SyntheticTimer({"wave": wave_us, "oneshot": oneshot_us, "multiphase": 5.0}, noise=noise, seed=seed)
    return Engine(timer, tuple(THREE), rule=StoppingRule(max_rounds=20), clock=lambda: 0.0).measure()


def read_three(lines: list[Sample]) -> dict[int, MeasuredPoint]:
    """Return the points of three kernels."""
    return find_points(lines, conditions=THIRD_CONDITIONS, shape=SHAPE, limits=THREE)


THIRD_CONDITIONS = dataclasses.replace(CONDITIONS, facts=dataclasses.replace(FACTS, provider="third"))


@given(st.floats(4.5, 5.5), st.floats(4.5, 5.5), st.floats(0.0, 0.1), st.integers(0, 1000), st.booleans())
def test_points_of_three_kernels_read_back_are_those_measured(
    wave_us: float, oneshot_us: float, noise: float, seed: int, again: bool
) -> None:
    """Each slower kernel's line holds its comparison with the fastest, which is all that a verdict needs."""
    first = measure_three(wave_us, oneshot_us, noise, seed)
    lines, last = build_lines(first, 16, THIRD_CONDITIONS), first
    if again:
        last = measure_three(wave_us, oneshot_us, noise, seed + 1).confirm(first.verdict)
        lines += build_lines(last, 16, THIRD_CONDITIONS)
    known, live = read_three(lines)[16], build_point(last)
    for name in ("verdict", "settled", "rounds", "dropped", "confirmed"):
        assert getattr(known, name) == getattr(live, name)
    assert known.times_us == pytest.approx(live.times_us, rel=1e-4)
    assert known.noise == pytest.approx(live.noise, rel=1e-4)


def test_lines_of_three_kernels_name_the_fastest() -> None:
    """Whoever reads the file by hand sees who was compared with whom, and which way round."""
    lines = build_lines(measure_three(6.0, 4.0, 0.0, 0), 16, THIRD_CONDITIONS)
    assert [(line.kernel, line.against, line.ratio) for line in lines] == [
        ("wave", "oneshot", 1.5),
        ("oneshot", "", None),
        ("multiphase", "oneshot", 0.8),
    ]
    assert {line.verdict for line in lines} == {"oneshot"}


def test_lines_of_three_kernels_that_contradict_each_other_are_no_measurement() -> None:
    """Two fastest kernels, a comparison with a slower one or a missing kernel: nobody knows what was measured."""
    lines = build_lines(measure_three(6.0, 4.0, 0.0, 0), 16, THIRD_CONDITIONS)
    assert read_three(lines)[16].verdict == Verdict(("oneshot",))
    none = {"against": "", "ratio": None, "ratio_low": None, "ratio_high": None}
    for index, change in ((0, none), (0, {"against": "multiphase"}), (0, {"kernel": "oneshot"}), (1, {"noise": 0.5})):
        changed = [dataclasses.replace(line, **change) if i == index else line for i, line in enumerate(lines)]
        assert read_three(changed) == {}
    assert read_three(lines[:2]) == {}


def test_ratio_of_a_point_is_that_of_its_fastest_loser() -> None:
    """A search looks around a point at which any kernel came close, also where two others tied."""
    times = {"wave": 4.0, "oneshot": 4.1, "multiphase": 4.4}
    assert MeasuredPoint(times, Verdict(("wave",)), 0.0).ratio == pytest.approx(4.1 / 4.0)
    assert MeasuredPoint(times, Verdict(("wave", "oneshot")), 0.0).ratio == pytest.approx(4.4 / 4.0)
    assert MeasuredPoint(times, Verdict(tuple(times)), 0.0).ratio is None
