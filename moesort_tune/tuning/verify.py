"""Measures what a sweep did not measure, to say what a table's choices cost and what other choices would."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Protocol

from moesort_tune.sorting.problem import KERNELS, KernelName
from moesort_tune.tables.schema import Entry, Row
from moesort_tune.tuning.messages import MeasureRequest, Worker
from moesort_tune.tuning.regret import MeasuredChoice, Regret, best_constant, constant_does_as_well, contenders
from moesort_tune.tuning.search import TokenRange
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.stopping import StoppingRule
from moesort_tune.tuning.worker import WorkerLostError

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
    """A point to measure. swept: its shape has a row of its own."""

    shape: Shape
    tokens: int
    swept: bool


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


def swept_settings(entry: Entry, seed: int) -> Settings:
    """The settings that an entry's rows were measured with. Raises ValueError for published figures."""
    if entry.sweep is None:
        raise ValueError("published figures say nothing of their settings")
    told = entry.sweep
    return Settings(
        timing=told.timing,
        unit_size=told.unit_size,
        model_dim=told.model_dim,
        dtype=told.dtype,
        ep=told.ep,
        routing=told.routing,
        cold=told.cold,
        seed=seed,
    )


def settings_named(names: Iterable[str], base: Settings) -> dict[str, Settings]:
    """The base and its variations, without those that are the base. Raises ValueError for an unknown name."""
    result = {AS_SWEPT: base}
    for name in names:
        if name not in OTHER_SETTINGS:
            raise ValueError(f"no setting is called {name!r}; there are all, none, {', '.join(OTHER_SETTINGS)}")
        other = replace(base, **OTHER_SETTINGS[name])  # type: ignore[arg-type]
        if other != base:
            result[name] = other
    return result


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
    """Token counts drawn log-uniformly where both kernels are legal, none of which the sweep measured."""
    swept = {Shape(row.num_experts, row.topk): row for row in rows}
    last = max(_swept_range(row).last for row in rows)
    questions = []
    for shape in [*swept, *shapes_between(swept)]:
        tokens = _swept_range(swept[shape]) if shape in swept else TokenRange(1, last)
        reach = TokenRange(tokens.first, min(tokens.last, limit_of(shape)))
        random_ = random.Random(f"{seed} {shape}")
        drawn = draw_tokens(reach, measured.get(shape, set()), per_shape, random_)
        questions += [Question(shape, count, shape in swept) for count in drawn]
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
    return TokenRange(*(row.evidence.tokens or (1, 16384)))


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

    def report(self, setting: str, settings: Settings, questions: Sequence[Question]) -> SettingReport | None:
        """None where no point is left to measure. Raises WorkerRefusedError for a wrong kernel."""
        usable = [question for question in questions if settings.ep <= question.shape.num_experts]
        self._listener.setting(setting, len(usable))
        points = [point for question in usable if (point := self._measured_if_possible(question, settings))]
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

    def _measured_if_possible(self, question: Question, settings: Settings) -> MeasuredChoice | None:
        if question.shape in self.failed:
            return None
        try:
            return self._measured(question, settings)
        except WorkerLostError as error:
            self.failed[question.shape] = str(error)
            self._listener.failed(question.shape, str(error))
            return None

    def _measured(self, question: Question, settings: Settings) -> MeasuredChoice:
        self._listener.at(question)
        answer = self._worker.measure(MeasureRequest(question.shape, question.tokens, settings, KERNELS, self._rule))
        times_us = {kernel: interval.median for kernel, interval in answer.measurement.times_us.items()}
        return MeasuredChoice(question.shape, question.tokens, times_us, answer.first_us, answer.measurement.verdict)
