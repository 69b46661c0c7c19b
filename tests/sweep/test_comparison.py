"""Two sweeps side by side: which points are compared, what is said of them, and what is missing."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.change import DEFAULT_THRESHOLD, Change
from moesort_tune.measure.engine import Engine
from moesort_tune.measure.statistics import compute_median_interval
from moesort_tune.shipped import get_tables_folder
from moesort_tune.sweep.comparison import SweepComparison, compare_samples, read_sweep
from moesort_tune.sweep.records import build_samples
from moesort_tune.sweep.samples import Sample, append_samples, read_samples
from tests.measure.synthetic import SyntheticTimer
from tests.sweep.kernels import KERNELS
from tests.sweep.test_records import CONDITIONS, SHAPE, build_lines, make_measurement

SHIPPED = get_tables_folder() / "sm_90.yaml"
ROUNDS = 8
HALF_RANGE = 1.424
"""Expected half of the range of eight normal values, in standard deviations."""


def make_lines(tokens: Sequence[int] = (1, 2, 3)) -> list[Sample]:
    """Return the lines of a sweep without noise."""
    return [line for count in tokens for line in build_lines(make_measurement(), count)]


def compare(before: Sequence[Sample], after: Sequence[Sample]) -> SweepComparison:
    """Compare with the default threshold."""
    return compare_samples(before, after, DEFAULT_THRESHOLD)


def count_changes(compared: SweepComparison) -> Counter[Change]:
    """Return how many points got each answer."""
    return Counter(point.change for point in compared.points)


def scale(line: Sample, factor: float) -> Sample:
    """Return a line whose times are longer."""
    return replace(line, median_us=line.median_us * factor, low_us=line.low_us * factor, high_us=line.high_us * factor)


def sweep_by_engine(*, seed: int, slowdown: float = 0.0, points: int = 300) -> list[Sample]:
    """Return what the real engine and stopping rule make of kernels whose rounds scatter by 1 %."""

    def measure(tokens: int) -> list[Sample]:
        times = {KERNELS[0]: 4.0 + tokens / 100, KERNELS[1]: 5.0}
        slowed = {name: time * (1 + slowdown) for name, time in times.items()}
        timer = SyntheticTimer(slowed, noise=0.01, seed=1000 * seed + tokens)
        measurement = Engine(timer, KERNELS, seed=seed, clock=lambda: 0.0).measure()
        return build_samples(measurement, conditions=CONDITIONS, shape=SHAPE, tokens=tokens, date="2026-11-26")

    return [line for tokens in range(1, points + 1) for line in measure(tokens)]


def test_two_sweeps_of_the_same_kernels_say_same() -> None:
    """A/A: with the engine's own choice of rounds, 99 % of the points are SAME and none has changed."""
    compared = compare(sweep_by_engine(seed=1), sweep_by_engine(seed=2))
    changes = count_changes(compared)
    assert len(compared.points) == 600
    assert changes[Change.SAME] >= 0.99 * 600, changes
    assert changes[Change.SLOWER] + changes[Change.FASTER] <= 0.01 * 600, changes


@pytest.mark.parametrize(("slowdown", "called"), [(0.05, Change.SLOWER), (1 / 1.05 - 1, Change.FASTER)])
def test_planted_difference_is_called(slowdown: float, called: Change) -> None:
    """5 % in either direction are called at 95 % of the points."""
    compared = compare(sweep_by_engine(seed=1), sweep_by_engine(seed=2, slowdown=slowdown))
    assert count_changes(compared)[called] >= 0.95 * 600, count_changes(compared)


def draw_again(lines: Sequence[Sample], source: random.Random, factor: float = 1.0) -> Iterator[Sample]:
    """Yield lines of times that scatter as those of a real sweep do."""
    for line in lines:
        noise = math.log(line.high_us / line.low_us) / 2 / HALF_RANGE
        rounds = [line.median_us * factor * math.exp(source.gauss(0, noise)) for _ in range(ROUNDS)]
        times = compute_median_interval(rounds, 0.99)
        yield replace(line, median_us=times.median, low_us=times.low, high_us=times.high)


def test_noise_of_a_real_sweep_hides_few_differences_and_invents_none() -> None:
    """With each point's noise as an H100 had it, equal times have not changed and 95 % of planted 5 % are called.

    At the noisiest points of such a sweep eight rounds cannot rule out 5 %: they are AMBIGUOUS.
    """
    source = random.Random(11)
    lines = [line for line in read_samples(SHIPPED.with_suffix(".samples.csv")) if line.samples == ROUNDS][::5]
    first = list(draw_again(lines, source))
    alike, planted = (compare(first, list(draw_again(lines, source, factor))) for factor in (1.0, 1.05))
    same, called = count_changes(alike), count_changes(planted)
    assert same[Change.SAME] >= 0.95 * len(alike.points), same
    assert same[Change.SLOWER] + same[Change.FASTER] <= 0.002 * len(alike.points), same
    assert called[Change.SLOWER] >= 0.95 * len(planted.points), called


def test_interval_of_few_rounds_is_ambiguous() -> None:
    """The extremes of seven rounds enclose the median too rarely to rule anything out."""
    few = [replace(line, samples=7) for line in make_lines()]
    assert count_changes(compare(make_lines(), few)) == {Change.AMBIGUOUS: 6}


def test_last_line_of_a_point_counts() -> None:
    """A point that was measured again is compared by the last measurement."""
    after = make_lines([1])
    compared = compare(make_lines([1]), [*(scale(line, 2) for line in after), *after])
    assert count_changes(compared) == {Change.SAME: 2}


def test_newest_revision_of_a_file_counts() -> None:
    """Samples are appended: those of kernels that are no more are not mixed with today's."""
    old = [replace(scale(line, 2), revision="old") for line in make_lines([1, 2, 3])]
    compared = compare(make_lines([1, 2, 3]), [*old, *make_lines([1, 2])])
    assert count_changes(compared) == {Change.SAME: 4}
    assert compared.only_before.points == 2


def test_rows_and_points_of_one_sweep_alone_are_named() -> None:
    """Protect against a sweep that lost a row and seems to have changed nothing."""
    other = [replace(line, num_experts=8, topk=2) for line in make_lines([1])]
    masked = [replace(line, masked=True) for line in make_lines([1])]
    compared = compare([*make_lines([1, 2]), *other], [*make_lines([2, 3, 4]), *masked])
    assert len(compared.points) == 2
    assert compared.only_before.rows == {"builtin, graph, with moe_buf": (Shape(8, 2),)}
    (series,) = compared.only_after.rows
    assert series.startswith("builtin, graph, with moe_buf, masked (unit_size=32;")
    assert (compared.only_before.points, compared.only_after.points) == (2, 4)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"device_id": "0x74a5", "compute_units": 304}, "compute units"),
        ({"settings": "unit_size=64;seed=3;margin=0.02"}, "unit_size"),
        ({"settings": "unit_size=64;seed=3", "arch": "gfx950"}, "architecture"),
    ],
)
def test_other_device_or_settings_are_compared_where_there_is_no_choice(changes: dict[str, str], name: str) -> None:
    """To compare two devices or two settings is what some want; the environments say that they did."""
    after = [replace(line, **changes) for line in make_lines()]  # type: ignore[arg-type]
    compared = compare(make_lines(), after)
    assert count_changes(compared) == {Change.SAME: 6}
    assert compared.before[name] != compared.after[name]


def test_equal_settings_are_compared_before_others() -> None:
    """A sweep of two settings is compared with one of them by that one."""
    other = [replace(scale(line, 2), settings="unit_size=64;seed=0") for line in make_lines()]
    compared = compare([*make_lines(), *other], make_lines())
    assert count_changes(compared) == {Change.SAME: 6}
    (series,) = compared.only_before.rows
    assert "unit_size=64" in series


def on_card(lines: Sequence[Sample], card: str, factor: float = 1.0) -> list[Sample]:
    """Return lines of one card of a machine, on which times are longer."""
    return [replace(scale(line, factor), host="node1", pci_address=card) for line in lines]


def test_card_is_compared_with_itself() -> None:
    """A slow card among several of one kind is no change, whichever of them was measured last."""
    fast, slow = on_card(make_lines(), "0000:01:00"), on_card(make_lines(), "0000:02:00", 1.5)
    compared = compare([*fast, *slow], [*slow, *fast])
    assert count_changes(compared) == {Change.SAME: 12}
    assert {point.card for point in compared.points} == {"node1 0000:01:00", "node1 0000:02:00"}


def test_points_of_different_cards_are_compared_where_they_share_none() -> None:
    """Rows are dealt to any card of a fleet, and the next sweep may run on another machine."""
    compared = compare(on_card(make_lines(), "0000:01:00"), on_card(make_lines(), "0000:02:00", 1.5))
    assert count_changes(compared) == {Change.SLOWER: 6}
    assert (compared.before["PCI address"], compared.after["PCI address"]) == ("0000:01:00", "0000:02:00")
    assert compared.only_before.points == compared.only_after.points == 0


def test_summary_has_the_geometric_mean_of_each_kernel() -> None:
    """A loss of a half and a gain of two cancel out."""
    before = make_lines([1, 2])
    after = [scale(line, 2.0 if line.tokens == 1 else 0.5) for line in before if line.kernel == KERNELS[0]]
    (summary,) = compare(before, after).summarize()
    assert (summary.kernel, summary.points) == (KERNELS[0], 2)
    assert summary.mean == pytest.approx(1.0)
    assert summary.counts == {Change.SLOWER: 1, Change.FASTER: 1, Change.SAME: 0, Change.AMBIGUOUS: 0}


def test_points_keep_their_condition() -> None:
    """A masked point is never compared with one that is not."""
    masked = [replace(line, masked=True) for line in make_lines([1])]
    compared = compare([*make_lines([1]), *masked], [*masked, *make_lines([1])])
    assert {point.row.condition for point in compared.points} == {Condition(), Condition(masked=True)}


def test_table_selects_the_samples_that_its_rows_rest_on(tmp_path: Path) -> None:
    """What a table's rows do not rest on is not compared, and of a file of samples all is."""
    table, samples = tmp_path / "sm_90.yaml", tmp_path / "sm_90.samples.csv"
    table.write_text(SHIPPED.read_text())
    with SHIPPED.with_suffix(".samples.csv").open() as shipped:
        samples.write_text("".join(islice(shipped, 201)))
    kept = read_samples(samples)
    append_samples(samples, [replace(line, revision="another") for line in kept[:20]])
    assert read_sweep(table) == kept
    assert len(read_sweep(samples)) == 220


def test_table_without_samples_is_refused(tmp_path: Path) -> None:
    """Nothing to compare is no agreement."""
    table = tmp_path / "sm_90.yaml"
    table.write_text(SHIPPED.read_text())
    with pytest.raises(MoesortTuneError, match=r"no samples of the rows of .*sm_90\.yaml in .*sm_90\.samples\.csv"):
        read_sweep(table)
