"""Verification measures what the sweep did not."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, Condition
from moesort_tune.domain.vocabulary import MULTIPHASE as MULTIPHASE_CANDIDATE
from moesort_tune.domain.vocabulary import ONESHOT as ONESHOT_CANDIDATE
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.search import EACH_UP_TO, TokenRange
from moesort_tune.sweep.worker.errors import WorkerLostError
from moesort_tune.sweep.worker.messages import MeasureRequest
from moesort_tune.tables.schema import Evidence
from moesort_tune.verify.conditions import AS_SWEPT, NO_TABLE, OTHER_SETTINGS
from moesort_tune.verify.policies import Policy
from moesort_tune.verify.verification import (
    Question,
    SettingReport,
    Verification,
    change_settings,
    choose_questions,
    draw_tokens,
    find_shapes_between,
    select_share,
)
from tests.sweep.fakes import time_two_kernels
from tests.tables.examples import row, sweep

ONESHOT, MULTIPHASE = ONESHOT_CANDIDATE.name, MULTIPHASE_CANDIDATE.name
LIMITS = {ONESHOT: 500, MULTIPHASE: MAX_TOKENS}

ROWS = [
    row(8, 2, None, limits={"oneshot": 500}, evidence=Evidence(tokens=(1, 512)), sweep=sweep()),
    row(128, 4, None, limits={"oneshot": 500}, evidence=Evidence(tokens=(1, 512)), sweep=sweep(ep=4)),
]


@dataclass
class Names:
    """A listener that keeps what it hears."""

    settings: list[tuple[str, int]] = field(default_factory=list)
    left_out: list[Shape] = field(default_factory=list)

    def announce_setting(self, name: str, points: int) -> None:
        """Keep it."""
        self.settings.append((name, points))

    def announce_point(self, question: Question) -> None:
        """Ignored."""

    def report_failure(self, shape: Shape, reason: str) -> None:
        """Keep the shape."""
        del reason
        self.left_out.append(shape)

    def report_left_out(self, name: str, reason: str) -> None:
        """Ignore it: there is one card."""


def test_questions_avoid_what_was_measured() -> None:
    """A table is not verified by the points that made it, but for the few tokens of which a sweep measures each."""
    measured = {Shape(8, 2): {*range(1, 100)}, Shape(128, 4): {64}}
    questions = choose_questions(ROWS, limits_of=lambda _: LIMITS, measured=measured, per_shape=10, seed=1)
    repeated = [q.tokens for q in questions if q.tokens in measured.get(q.shape, set())]
    assert all(tokens <= EACH_UP_TO for tokens in repeated)
    assert all(1 <= q.tokens <= 500 for q in questions)
    assert {q.shape: q.swept for q in questions} == {Shape(8, 2): True, Shape(128, 4): True, Shape(32, 2): False}


def test_questions_come_from_the_seed() -> None:
    """The same seed asks the same, another one something else."""
    asked = [choose_questions(ROWS, limits_of=lambda _: LIMITS, measured={}, per_shape=8, seed=s) for s in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


def test_shape_without_legal_oneshot_raises_no_question() -> None:
    """Where one kernel is legal there is nothing to choose."""
    assert choose_questions(ROWS, limits_of=lambda _: {**LIMITS, ONESHOT: 0}, measured={}, per_shape=8, seed=1) == []


def test_shapes_between_are_not_swept_ones() -> None:
    """Unknown shapes lie between the rows, with a topk that they can have."""
    assert find_shapes_between([Shape(256, 8), Shape(8, 2), Shape(64, 6)]) == [Shape(22, 2), Shape(128, 6)]
    assert find_shapes_between([Shape(8, 8)]) == []


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 12), st.integers())
def test_drawn_tokens_are_distinct_and_in_reach(first: int, width: int, count: int, seed: int) -> None:
    """However small the reach, the draw ends and stays inside."""
    drawn = draw_tokens(TokenRange(first, first + width), {first}, count, random.Random(seed))
    assert len(drawn) <= count
    assert len(set(drawn)) == len(drawn)
    assert all(first < tokens <= first + width for tokens in drawn)


def test_each_row_is_verified_with_its_own_settings() -> None:
    """Rows of one entry may come from different sweeps; a shape between them takes those of the lower one."""
    questions = choose_questions(ROWS, limits_of=lambda _: LIMITS, measured={}, per_shape=2, seed=7)
    assert {q.shape: (q.settings.ep, q.settings.seed) for q in questions} == {
        Shape(8, 2): (1, 7),
        Shape(128, 4): (4, 7),
        Shape(32, 2): (1, 7),
    }


def test_settings_that_a_row_was_measured_with_are_not_repeated() -> None:
    """A row that was swept with unit_size 64 has one variation less; the others have it."""
    questions = [Question(Shape(8, 2), 5, True, Settings(unit_size=64)), Question(Shape(64, 6), 5, True)]
    assert [q.shape for q in change_settings(questions, OTHER_SETTINGS["unit_size=64"].changes)] == [Shape(64, 6)]
    cold = change_settings(questions, OTHER_SETTINGS["cold"].changes)
    assert [(q.settings.cold, q.settings.timing) for q in cold] == [(True, "eager")] * 2


def test_shares_take_turns_and_never_leave_nothing() -> None:
    """Protects affordable settings: each asks a part of the points, not the same one, and at least one point."""
    questions = [Question(Shape(8, 2), tokens, True) for tokens in range(8)]
    shares = [[q.tokens for q in select_share(questions, 4, turn)] for turn in range(5)]
    assert shares == [[0, 4], [1, 5], [2, 6], [3, 7], [0, 4]]
    assert [[q.tokens for q in select_share(questions[:1], 4, turn)] for turn in range(4)] == [[0]] * 4
    assert select_share([], 4, 3) == []


def test_learned_rows_are_verified_under_a_routing_that_can_be_drawn() -> None:
    """Protects tables with learned rows: nobody can draw what was 'served'."""
    rows = [row(8, 2, None, limits={"oneshot": 500}, sweep=sweep(routing="served"))]
    questions = choose_questions(rows, limits_of=lambda _: LIMITS, measured={}, per_shape=2, seed=7)
    assert {q.settings.routing for q in questions} == {"uniform"}


def make_verification(switch: int, before: Callable[[Any], None] = lambda _: None) -> tuple[Verification, Names]:
    """Return a verification of kernels that cross at 40 tokens under a choice that switches at `switch`."""
    worker = time_two_kernels(lambda _, tokens: 2 + 0.1 * tokens, lambda _, __: 6.0, before=before)
    names = Names()

    table = Policy("table", lambda case: MULTIPHASE if case.tokens >= switch else ONESHOT)
    return Verification(worker, table=table, rule=StoppingRule(), listener=names), names


QUESTIONS = [Question(Shape(8, 2), tokens, True) for tokens in (5, 20, 39, 60, 140)]


def measure_report(switch: int) -> SettingReport:
    """Return the report on QUESTIONS."""
    report = make_verification(switch)[0].report(AS_SWEPT, QUESTIONS)
    assert report is not None
    return report


def test_right_table_has_no_regret() -> None:
    """Choices at the true crossing cost nothing, and a constant does as well for one shape."""
    report = measure_report(40)
    assert report.regrets["table"].worst == pytest.approx(1.0)
    assert report.regrets["always oneshot"].worst == pytest.approx(16 / 6)
    assert report.as_good
    assert report.constant.work == 39 * 8


def test_wrong_table_is_found_out() -> None:
    """A table whose switch is at the wrong place shows its regret and where."""
    report = measure_report(100)
    assert report.regrets["table"].worst_settled == pytest.approx(8 / 6)
    assert report.regrets["table"].worst_at.tokens == 60


def test_shape_whose_kernels_crash_is_left_out_and_the_rest_goes_on() -> None:
    """Protects what was measured: a crash costs its shape, once, and the reports say nothing of it but that."""

    def crash(request: MeasureRequest) -> None:
        if request.shape == Shape(64, 6):
            raise WorkerLostError("the process that runs the kernels died with SIGSEGV")

    check, names = make_verification(40, crash)
    crashing = [Question(Shape(64, 6), tokens, True) for tokens in (9, 10)]
    report = check.report(AS_SWEPT, [*crashing, *QUESTIONS])
    assert report is not None
    assert {point.shape for point in report.points} == {Shape(8, 2)}
    assert names.left_out == [Shape(64, 6)]
    assert "SIGSEGV" in check.failed[Shape(64, 6)]
    assert check.report("cold", crashing) is None


def test_expert_parallelism_skips_shapes_with_too_few_experts() -> None:
    """Each rank has at least one expert."""
    check, names = make_verification(40)
    changes = OTHER_SETTINGS["masked"].changes
    check.report("masked", change_settings([*QUESTIONS, Question(Shape(2, 2), 9, True)], changes))
    assert names.settings == [("masked", len(QUESTIONS))]


def test_points_carry_the_condition_of_their_calls() -> None:
    """Protects what the table is asked: masked calls and those without moe_buf are measured, and asked for, as such."""
    check, _ = make_verification(40)
    for name, condition in (("masked", Condition(masked=True)), ("without moe_buf", Condition(moe_buf=False))):
        report = check.report(name, change_settings(QUESTIONS, OTHER_SETTINGS[name].changes))
        assert report is not None
        assert {case.condition for case in report.points} == {condition}


def test_report_counts_the_points_above_the_margin() -> None:
    """Protects the sentence on skewed routing: a switch at 100 tokens is wrong at one point of five, 60 tokens."""
    report = measure_report(100)
    assert (report.above_margin, report.decider, report.skewed) == (1, "table", False)
    check, _ = make_verification(100)
    skewed = check.report("zipf:1.2", change_settings(QUESTIONS, OTHER_SETTINGS["zipf:1.2"].changes))
    assert skewed is not None
    assert (skewed.above_margin, skewed.skewed) == (1, True)


def test_measured_points_can_be_decided_otherwise() -> None:
    """Protects the report without a table: the same points, another decider, grouped by experts and condition."""
    check, _ = make_verification(40)
    report = check.report(AS_SWEPT, QUESTIONS)
    masked = check.report("masked", change_settings(QUESTIONS, OTHER_SETTINGS["masked"].changes))
    assert report is not None
    assert masked is not None
    without = check.compare(NO_TABLE, report.points + masked.points, Policy("no table", lambda _: ONESHOT))
    assert without.decider == "no table"
    assert without.regret.worst == pytest.approx(16 / 6)
    assert {name: points for name, (points, _) in without.groups.items()} == {
        "up to 64 experts": 10,
        "with moe_buf": 5,
        "with moe_buf, masked": 5,
    }
