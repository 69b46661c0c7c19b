"""The model of AITER's kernels on gfx950: its data, its fit, the decisions, and the table that it writes."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from aiter_model import decisions, fit
from aiter_model.gaps import GapRange, find_range, fit_modes
from aiter_model.points import REPLAY, SGLANG, UNNAMED, Cycles, Point, Shape, read_points
from aiter_model.table import Chooser, build_table

from moesort_tune.shipped import get_tables_folder
from moesort_tune.tables import store
from moesort_tune.tables.validation import check

REPOSITORY = Path(__file__).parents[2]
POINTS = read_points()
CYCLES = Cycles()
MODELS = fit_modes(POINTS, CYCLES)


def make_point(shape: Shape, tokens: int, kernel: str, us: float) -> Point:
    """Return a point of an invented source."""
    return Point(REPLAY, "none", shape, tokens, kernel, us, "invented")


def make_exact_points(model: fit.Model) -> list[Point]:
    """Return a point for each emulated one of three shapes, whose times the model gives exactly."""
    shapes = (Shape(40, 6), Shape(128, 4), Shape(257, 9))
    return [
        make_point(shape, tokens, kernel, model.estimate_us(cycles, kernel))
        for (kernel, shape), ladder in CYCLES.ladders.items()
        if shape in shapes
        for tokens, cycles in zip(ladder.tokens, ladder.cycles, strict=True)
    ]


def test_modelled_file_is_what_the_script_writes() -> None:
    """A file that somebody edits, or that data or code have left behind, would claim a fit that nobody computed."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "model_aiter.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_fit_recovers_the_numbers_that_the_times_were_made_with() -> None:
    """Protects the equations: a clock of 2 GHz, 7 us of launch and a gap of 2.5 us come back."""
    model = fit.Model(us_per_cycle=0.0005, constant_us=7.0, gap_us=2.5)
    points = make_exact_points(model)
    assert np.allclose(fit.fit(points, CYCLES), model)
    assert fit.compute_errors(model, points, CYCLES).rms_us == pytest.approx(0)
    assert np.allclose(fit.fit_mode(points, CYCLES, model.us_per_cycle), model)


def test_point_left_out_does_not_take_part_in_its_fit() -> None:
    """An error that was fitted to would look small: one time that is 5 us off must be 5 us off where it is left out."""
    model = fit.Model(us_per_cycle=0.0005, constant_us=7.0, gap_us=2.5)
    points = make_exact_points(model)
    points[3] = points[3]._replace(us=points[3].us + 5)
    left_out = dict(fit.leave_out(points, CYCLES, lambda point: point))
    assert left_out[points[3]].differences == pytest.approx([-5])


def test_published_points_are_those_of_the_sources() -> None:
    """27 points of replayed graphs, each with its source; the ranges of SGLang's comment are no part of the fit."""
    assert sum(point.mode == REPLAY for point in POINTS) == 27
    gpus = Counter(point.gpu for point in POINTS if point.mode == REPLAY)
    assert gpus == {"MI350X": 9, UNNAMED: 18}
    assert all("(2026-" in point.source for point in POINTS if point.mode != SGLANG)
    assert all((p.kernel, p.shape) in CYCLES.ladders for p in POINTS)


def test_errors_of_the_published_fit_are_those_of_the_page() -> None:
    """The page and the table state these figures; a change of the data must change them too."""
    replayed = [point for point in POINTS if point.mode == REPLAY]
    one = fit.join([errors for _, errors in fit.leave_out(replayed, CYCLES, lambda point: point)])
    experts = dict(fit.leave_out(replayed, CYCLES, lambda point: point.shape.num_experts))
    assert fit.compute_errors(MODELS[REPLAY], replayed, CYCLES).rms_us == pytest.approx(0.404, abs=5e-4)
    assert one.mean_ratio == pytest.approx(0.0226, abs=5e-5)
    assert [experts[count].rms_us for count in (257, 385, 40)] == pytest.approx([0.460, 0.743, 0.428], abs=5e-4)


def test_regrets_at_the_published_decisions_are_those_of_the_page() -> None:
    """What the model is worth beside AITER's rule and the best constant, at 23 decisions."""
    found = decisions.list_decisions(POINTS)
    regrets = {
        name: (round(regret.mean, 3), round(regret.worst, 3))
        for name, policy in decisions.list_policies(found, MODELS, CYCLES)
        for regret in [decisions.rate(found, policy)]
    }
    assert len(found) == 23
    assert regrets["the model, with each mode's own gap"] == (1.0, 1.0)
    assert regrets["AITER's rule, as it was then"] == (1.174, 1.625)
    assert regrets["AITER's rule today"] == (1.12, 1.526)
    assert regrets["best constant, tokens * experts > 320"] == (1.028, 1.32)


def test_time_that_was_not_published_is_bounded_by_more_tokens() -> None:
    """Multiphase at few tokens takes at most what it takes for more, never what it takes for fewer."""
    shape = Shape(40, 6)
    points = [
        make_point(shape, 16, "oneshot", 5.0),
        make_point(shape, 8, "multiphase", 1.0),
        make_point(shape, 32, "multiphase", 4.0),
        make_point(shape, 64, "multiphase", 3.0),
    ]
    (decision,) = decisions.list_decisions(points)
    assert decision.us == {"oneshot": 5.0, "multiphase": 3.0}


def test_published_rows_take_the_kernel_of_the_published_times() -> None:
    """The shipped rows and the data of the fit are from the same sources, and must not say different things."""
    shipped = store.load(get_tables_folder() / "published" / "gfx950-aiter.yaml")
    rows = {Shape(*row.shape): row for entry in shipped.tables for row in entry.rows}
    found = decisions.list_decisions(POINTS)
    assert {decision.shape for decision in found} == rows.keys()
    for decision in found:
        kernel = rows[decision.shape].choose_kernel(decision.tokens, ("oneshot", "multiphase"))
        assert decision.compute_regret(kernel) == 1


def test_ties_cover_what_the_range_of_gaps_leaves_open() -> None:
    """Within a tie some gap of the range leads to each kernel; outside all lead to the row's own."""
    gaps = find_range(POINTS)
    chooser = Chooser(MODELS[REPLAY], gaps, CYCLES)
    for shape in CYCLES.shapes:
        row = chooser.build_row(shape, "")
        assert row.evidence.tokens is not None
        for tokens in range(1, row.evidence.tokens[1] + 1):
            kernels = {chooser.choose_kernel(MODELS[REPLAY]._replace(gap_us=gap), shape, tokens) for gap in gaps}
            tied = any(first <= tokens <= last for first, last, _ in row.tie)
            assert tied == (len(kernels) == 2)
            assert tied or row.choose_kernel(tokens, ("oneshot", "multiphase")) in kernels


def test_gap_decides_256_experts_alone() -> None:
    """The page calls this shape uncertain: a tenth of a microsecond on either side of the fit changes its choice."""
    model, shape = MODELS[REPLAY], Shape(256, 8)
    chooser = Chooser(model, GapRange(0, 5), CYCLES)
    nearby = [model._replace(gap_us=model.gap_us + change) for change in (-0.1, 0.1)]
    assert [chooser.choose_kernel(one, shape, 1) for one in nearby] == ["multiphase", "oneshot"]


def test_table_is_valid_and_says_its_error_in_every_row() -> None:
    """A row that is merged elsewhere takes its error statement along."""
    chooser = Chooser(MODELS[REPLAY], find_range(POINTS), CYCLES)
    table = build_table(chooser, "0.4 us off", {Shape(256, 8): "; uncertain"})
    check(table)
    (entry,) = table.tables
    assert entry.evidence == "modelled"
    sources = {row.shape: row.evidence.source for row in entry.rows}
    assert sources.pop((256, 8)) == "0.4 us off; uncertain"
    assert set(sources.values()) == {"0.4 us off"}


def test_cycles_between_two_emulated_counts_follow_the_kernels_steps() -> None:
    """Oneshot counts in steps of 8 tokens, so 17 tokens take what 24 take; beyond the last count nothing is known."""
    ladder = CYCLES.get_ladder("oneshot", Shape(32, 4))
    assert ladder.interpolate(17) == ladder.interpolate(24) == 8796
    assert ladder.interpolate(4) == ladder.interpolate(1) == 6252
    assert ladder.interpolate(500) == 29912
