"""Measure token counts that no sweep measured, and compare the table's choices with those of other policies."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Protocol

from moesort_tune.domain.candidates import Limits, find_last_contested, list_legal_kernels
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.facts import registry
from moesort_tune.sweep.records import build_settings
from moesort_tune.sweep.search import EACH_UP_TO, TokenRange
from moesort_tune.sweep.worker.errors import WorkerLostError
from moesort_tune.sweep.worker.messages import MeasureRequest, Worker
from moesort_tune.tables.schema import Row
from moesort_tune.verify.conditions import name_expert_group
from moesort_tune.verify.policies import Case, Constant, Policy, always, by_constant, by_first_encounter, list_rules
from moesort_tune.verify.regret import (
    Regret,
    compare_policies,
    compute_group_regrets,
    find_best_mean_constant,
    is_constant_as_good,
    list_settled_losses,
)

SERVED_ROUTING: Final = "served"
"""Routing of learned rows, which no sweep can repeat."""


@dataclass(frozen=True)
class Question:
    """A point to measure. swept: its shape has a row of its own. settings: those that the table has for it."""

    shape: Shape
    tokens: int
    swept: bool
    settings: Settings = field(default_factory=Settings)


Group = tuple[int, Regret]
"""Number of points, and the regret of what decides."""


@dataclass(frozen=True)
class SettingReport:
    """Regrets under one setting, those of what decides first.

    constant: the best single constant; as_good: it does as well as what decides.
    above_margin: points at which another kernel won by more than the margin. swept: the table has rows that were
    measured like this. skewed: the experts are not equally popular. groups: of the points, by expert count, and by
    condition where there are several.
    """

    setting: str
    points: list[Case]
    regrets: dict[str, Regret]
    constant: Constant
    as_good: bool
    above_margin: int = 0
    swept: bool = False
    skewed: bool = False
    groups: dict[str, Group] = field(default_factory=dict)

    @property
    def decider(self) -> str:
        """The name of the policy that decides: the table, or what decides without one."""
        return next(iter(self.regrets))

    @property
    def regret(self) -> Regret:
        """The regret of the policy that decides."""
        return self.regrets[self.decider]


class Listener(Protocol):
    """Progress of a verification, for a person."""

    def announce_setting(self, name: str, points: int) -> None:
        """Announce a setting."""

    def announce_point(self, question: Question) -> None:
        """Announce a point."""

    def report_failure(self, shape: Shape, reason: str) -> None:
        """Report a shape that is left out from here on."""

    def report_left_out(self, name: str, reason: str) -> None:
        """Report a card that is not used."""


def change_settings(questions: Sequence[Question], changes: Mapping[str, object]) -> list[Question]:
    """Return the questions under changed settings, without those that the table was measured for like this."""
    changed = [replace(q, settings=replace(q.settings, **changes)) for q in questions]  # type: ignore[arg-type]
    return [new for new, old in zip(changed, questions, strict=True) if new != old]


def select_share(questions: Sequence[Question], share: int, turn: int) -> list[Question]:
    """Return one question of so many, at least one of any; another turn begins with another one."""
    return list(questions[turn % min(share, max(1, len(questions))) :: share])


def find_shapes_between(shapes: Iterable[Shape]) -> list[Shape]:
    """Return unswept shapes, each between two neighbouring rows: their experts' geometric mean."""
    ordered = sorted(shapes)
    between = [Shape(math.isqrt(a.num_experts * b.num_experts), a.topk) for a, b in pairwise(ordered)]
    return [shape for shape in dict.fromkeys(between) if shape not in ordered and shape.topk <= shape.num_experts]


def choose_questions(
    rows: Sequence[Row],
    *,
    limits_of: Callable[[Shape], Limits],
    measured: Mapping[Shape, set[int]],
    per_shape: int,
    seed: int,
) -> list[Question]:
    """Draw token counts log-uniformly where several kernels are legal.

    Past EACH_UP_TO they are counts that the sweep did not measure. Up to there it measures every count, so that these
    are measured again, with another seed's inputs.

    rows: complete ones; a shape between two of them is measured with the settings of the lower one.
    """
    swept = {Shape(row.num_experts, row.topk): row for row in rows}
    last = max(_get_swept_range(row).last for row in rows)
    questions = []
    for shape in [*swept, *find_shapes_between(swept)]:
        tokens = _get_swept_range(swept[shape]) if shape in swept else TokenRange(1, last)
        reach = TokenRange(tokens.first, min(tokens.last, find_last_contested(limits_of(shape))))
        random_ = random.Random(f"{seed} {shape}")
        excluded = {count for count in measured.get(shape, ()) if count > EACH_UP_TO}
        drawn = draw_tokens(reach, excluded, per_shape, random_)
        settings = _build_settings(swept[max((one for one in swept if one <= shape), default=min(swept))], seed)
        questions += [Question(shape, count, shape in swept, settings) for count in drawn]
    return questions


def draw_tokens(reach: TokenRange, excluded: set[int], count: int, random_: random.Random) -> list[int]:
    """Return up to `count` distinct token counts of `reach`, log-uniform, without the excluded ones, ascending."""
    if reach.last < reach.first:
        return []
    drawn: set[int] = set()
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        exponent = random_.uniform(math.log(reach.first), math.log(reach.last + 1))
        drawn.add(min(int(math.exp(exponent)), reach.last))
        drawn -= excluded
    return sorted(drawn)


def _get_swept_range(row: Row) -> TokenRange:
    return TokenRange(*row.swept_range)


def _build_settings(row: Row, seed: int) -> Settings:
    """Return the settings that a complete, measured row was measured with, and the inputs of `seed`."""
    if row.sweep is None:
        raise ValueError(f"expected a measured row, got {row.shape} without a sweep")
    settings = build_settings(row.sweep, seed=seed)
    return replace(settings, routing="uniform") if settings.routing == SERVED_ROUTING else settings


class Verification:
    """Measure questions under each setting, and compare the table with other policies.

    failed: shapes whose kernels crashed or never ended, with the reason; none of their points is measured any more.
    """

    def __init__(self, worker: Worker, *, table: Policy, rule: StoppingRule, listener: Listener) -> None:
        self._worker = worker
        self._table = table
        self._rule = rule
        self._listener = listener
        self.failed: dict[Shape, str] = {}

    def report(self, setting: str, questions: Sequence[Question], *, swept: bool = False) -> SettingReport | None:
        """Return None where no point is left to measure. Raise WorkerRefusedError for a wrong kernel."""
        usable = [question for question in questions if question.settings.ep <= question.shape.num_experts]
        self._listener.announce_setting(setting, len(usable))
        cases = [case for question in usable if (case := self._measure_if_possible(question))]
        if not cases:
            return None
        skewed = any(question.settings.routing != "uniform" for question in usable)
        return replace(self.compare(setting, cases, self._table), swept=swept, skewed=skewed)

    def compare(self, setting: str, cases: list[Case], decides: Policy) -> SettingReport:
        """Return the report on cases, at least one, that were measured already."""
        constant = find_best_mean_constant(cases)
        groups = compute_group_regrets(cases, decides, lambda case: name_expert_group(case.shape))
        if len({case.condition for case in cases}) > 1:
            groups |= compute_group_regrets(cases, decides, lambda case: str(case.condition))
        losses = [loss for loss, _ in list_settled_losses(cases, decides)]
        return SettingReport(
            setting=setting,
            points=cases,
            regrets=compare_policies(cases, [decides, *self._list_contenders(constant)]),
            constant=constant,
            as_good=is_constant_as_good(cases, decides),
            above_margin=sum(loss > 1 + self._rule.margin for loss in losses),
            groups=groups,
        )

    def _list_contenders(self, constant: Constant) -> list[Policy]:
        """Return the policies that compete with what decides."""
        facts, device = registry.get_facts(self._worker.facts.provider), self._worker.facts.limits
        return [
            *list_rules(facts, device),
            by_constant(constant, f"tokens * experts > {constant}"),
            by_first_encounter(),
            *always(facts),
        ]

    def _measure_if_possible(self, question: Question) -> Case | None:
        if question.shape in self.failed:
            return None
        try:
            return self._measure(question)
        except WorkerLostError as error:
            self.failed[question.shape] = str(error)
            self._listener.report_failure(question.shape, str(error))
            return None

    def _measure(self, question: Question) -> Case:
        self._listener.announce_point(question)
        settings = question.settings
        kernels = list_legal_kernels(question.tokens, self._worker.limits(question.shape))
        request = MeasureRequest(question.shape, question.tokens, settings, kernels, self._rule)
        answer = self._worker.measure(request)
        medians = {kernel: answer.measurement.times_us[kernel].median for kernel in kernels}
        return Case(
            question.shape,
            question.tokens,
            medians,
            answer.first_us,
            answer.measurement.verdict,
            condition=settings.condition,
            timing=settings.timing,
            candidates=tuple(self._worker.limits(question.shape)),
        )
