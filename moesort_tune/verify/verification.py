"""Measures what a sweep did not measure, to say what a table's choices cost and what other choices would."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Protocol

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sorting.problem import KERNELS
from moesort_tune.sweep.records import settings_of
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.client import WorkerLostError
from moesort_tune.sweep.worker.messages import MeasureRequest, Worker
from moesort_tune.tables import keeping
from moesort_tune.tables.schema import Row
from moesort_tune.verify.regret import MeasuredChoice, Regret, best_constant, constant_does_as_well, contenders

EP_RANKS: Final = 4
"""Ranks of the expert-parallel setting; every preset has more experts."""

OTHER_SETTINGS: Final[dict[str, dict[str, object]]] = {
    "unit_size=16": {"unit_size": 16},
    "unit_size=64": {"unit_size": 64},
    "unit_size=128": {"unit_size": 128},
    "model_dim=2048": {"model_dim": 2048},
    "model_dim=7168": {"model_dim": 7168},
    f"ep={EP_RANKS}": {"ep": EP_RANKS},
    "eager": {"timing": "eager"},
    "cold": {"timing": "eager", "cold": True},
}
"""Settings that a table is rarely measured with, by the name that --settings takes."""

AS_SWEPT: Final = "as swept"


@dataclass(frozen=True)
class Question:
    """A point to measure. swept: its shape has a row of its own. settings: those that the table has for it."""

    shape: Shape
    tokens: int
    swept: bool
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class SettingReport:
    """Regrets under one setting. constant: the best single constant; as_good: it does as well as the table."""

    setting: str
    points: list[MeasuredChoice]
    regrets: dict[str, Regret]
    constant: int
    as_good: bool


class Listener(Protocol):
    """What a person sees while points are measured."""

    def setting(self, name: str, points: int) -> None:
        """A setting begins."""

    def at(self, question: Question) -> None:
        """A point begins."""

    def failed(self, shape: Shape, reason: str) -> None:
        """A shape is left out from here on."""


def under(setting: str, questions: Sequence[Question]) -> list[Question]:
    """Return the questions under one of OTHER_SETTINGS, without those that the table was measured for like this."""
    changed = [replace(q, settings=replace(q.settings, **OTHER_SETTINGS[setting])) for q in questions]  # type: ignore[arg-type]
    return [new for new, old in zip(changed, questions, strict=True) if new != old]


def shapes_between(shapes: Iterable[Shape]) -> list[Shape]:
    """Shapes that nobody swept, each between two neighbouring rows: their experts' geometric mean."""
    ordered = sorted(shapes)
    between = [Shape(math.isqrt(a.num_experts * b.num_experts), a.topk) for a, b in pairwise(ordered)]
    return [shape for shape in dict.fromkeys(between) if shape not in ordered and shape.topk <= shape.num_experts]


def choose_questions(
    rows: Sequence[Row],
    *,
    limit_of: Callable[[Shape], int],
    measured: Mapping[Shape, set[int]],
    per_shape: int,
    seed: int,
) -> list[Question]:
    """Token counts drawn log-uniformly where both kernels are legal, none of which the sweep measured.

    rows: complete ones; a shape between two of them is measured with the settings of the lower one.
    """
    swept = {Shape(row.num_experts, row.topk): row for row in rows}
    last = max(_swept_range(row).last for row in rows)
    questions = []
    for shape in [*swept, *shapes_between(swept)]:
        tokens = _swept_range(swept[shape]) if shape in swept else TokenRange(1, last)
        reach = TokenRange(tokens.first, min(tokens.last, limit_of(shape)))
        random_ = random.Random(f"{seed} {shape}")
        drawn = draw_tokens(reach, measured.get(shape, set()), per_shape, random_)
        settings = _settings(swept[max((one for one in swept if one <= shape), default=min(swept))], seed)
        questions += [Question(shape, count, shape in swept, settings) for count in drawn]
    return questions


def draw_tokens(reach: TokenRange, excluded: set[int], count: int, random_: random.Random) -> list[int]:
    """Up to `count` distinct token counts of `reach`, log-uniform, without the excluded ones, ascending."""
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


def _swept_range(row: Row) -> TokenRange:
    return TokenRange(*keeping.swept(row))


def _settings(row: Row, seed: int) -> Settings:
    """Those that a complete, measured row was measured with, with other inputs."""
    if row.sweep is None:
        raise ValueError(f"expected a measured row, got {row.shape} without a sweep")
    return settings_of(row.sweep, seed=seed)


class Verification:
    """Measures the questions under each setting and compares the ways to choose.

    failed: shapes whose kernels crashed or never ended, with the reason; none of their points is measured any more.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        choose: Callable[[Shape, int], KernelName],
        rule: StoppingRule,
        listener: Listener,
    ) -> None:
        self._worker = worker
        self._choose = choose
        self._rule = rule
        self._listener = listener
        self.failed: dict[Shape, str] = {}

    def report(self, setting: str, questions: Sequence[Question]) -> SettingReport | None:
        """None where no point is left to measure. Raises WorkerRefusedError for a wrong kernel."""
        usable = [question for question in questions if question.settings.ep <= question.shape.num_experts]
        self._listener.setting(setting, len(usable))
        points = [point for question in usable if (point := self._measured_if_possible(question))]
        if not points:
            return None
        constant = best_constant(points)
        return SettingReport(
            setting=setting,
            points=points,
            regrets=contenders(points, self._by_table, constant),
            constant=constant,
            as_good=constant_does_as_well(points, self._by_table),
        )

    def _by_table(self, point: MeasuredChoice) -> KernelName:
        return self._choose(point.shape, point.tokens)

    def _measured_if_possible(self, question: Question) -> MeasuredChoice | None:
        if question.shape in self.failed:
            return None
        try:
            return self._measured(question)
        except WorkerLostError as error:
            self.failed[question.shape] = str(error)
            self._listener.failed(question.shape, str(error))
            return None

    def _measured(self, question: Question) -> MeasuredChoice:
        self._listener.at(question)
        request = MeasureRequest(question.shape, question.tokens, question.settings, KERNELS, self._rule)
        answer = self._worker.measure(request)
        times_us = {kernel: interval.median for kernel, interval in answer.measurement.times_us.items()}
        return MeasuredChoice(question.shape, question.tokens, times_us, answer.first_us, answer.measurement.verdict)
