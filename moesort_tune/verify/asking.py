"""Choose what a verification asks: points of each condition and setting, by the entries of the table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from moesort_tune import runtime
from moesort_tune.domain.settings import NamedRouting
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, Condition, Timing
from moesort_tune.errors import MoesortTuneError
from moesort_tune.numerals import check_within
from moesort_tune.sweep.fleet.options import Fleet
from moesort_tune.sweep.records import select_samples
from moesort_tune.sweep.rows import list_rungs
from moesort_tune.sweep.samples import get_samples_path, read_samples
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.messages import Worker
from moesort_tune.tables.schema import Entry, Table
from moesort_tune.verify.conditions import AS_SWEPT, OF_CALLS, OTHER_SETTINGS, OTHER_SHAPES, SHARE_OF_ROUTING
from moesort_tune.verify.results import format_swept
from moesort_tune.verify.verification import Question, change_settings, choose_questions, select_share

DEFAULT_POINTS: Final = 8
HOST_POINTS: Final = 4
"""Token counts a shape; other settings than the swept ones ask a part of them."""


@dataclass(frozen=True)
class VerifyJob:
    """The options of a verification. points: token counts a shape, None for a default that depends on the device.

    settings: names of OTHER_SETTINGS; routings: to verify under besides those. fleet: the cards to use.
    """

    table: Path
    provider: str
    timing: Timing
    settings: tuple[str, ...]
    seed: int
    points: int | None
    margin: float
    point_limit_s: float
    routings: tuple[NamedRouting, ...] = ()
    fleet: Fleet = field(default_factory=Fleet)

    def __post_init__(self) -> None:
        """Raise ValueError for seconds that are not finite or not above 0."""
        check_within("point_limit_s", self.point_limit_s, 0, low_open=True)


class Asked(NamedTuple):
    """The questions of one report. swept: the table has rows for all of them that were measured like this."""

    name: str
    questions: list[Question]
    swept: bool = False


def find_entries(dispatcher: runtime.Dispatcher, table: Table) -> dict[Condition, Entry]:
    """Return the entries that decide calls of other conditions than the usual one, as far as the table has them."""
    if dispatcher.entry is not None and dispatcher.entry.operation != SORTING:
        return {}  # all calls are of one condition
    shapes = sorted({row.shape for entry in table.tables for row in entry.rows})
    found: dict[Condition, Entry] = {}
    for condition in OF_CALLS.values():
        for shape in shapes:
            entry = dispatcher.explain(1, *shape, moe_buf=condition.moe_buf, masked=condition.masked).entry
            if entry is not None and entry is not dispatcher.entry and entry.condition == condition:
                found.setdefault(condition, entry)
    return found


class Asking:
    """Draw the questions of a verification.

    entry: the one that decides usual calls. others: those of calls of other conditions. launched_otherwise: the one
    of usual calls that are launched in the other way, whose points are not asked either.
    """

    def __init__(
        self,
        job: VerifyJob,
        worker: Worker,
        entry: Entry,
        others: Mapping[Condition, Entry],
        launched_otherwise: Entry | None = None,
    ) -> None:
        """Draw the points of the entry. Raise MoesortTuneError where it leaves none to measure."""
        self._job = job
        self._worker = worker
        self._others = others
        self._launched_otherwise = launched_otherwise
        self._samples = read_samples(get_samples_path(job.table))
        self._per_shape = job.points or (HOST_POINTS if worker.facts.runtime == "host" else DEFAULT_POINTS)
        drawn = self._draw(entry, self._per_shape)
        self._own = [question for question in drawn if question.swept]
        self._between = [question for question in drawn if not question.swept]
        if not self._own:
            swept = ", ".join(format_swept(entry.rows))
            raise MoesortTuneError(
                f"{job.table} leaves no token count to verify: it was swept at {swept}, and nothing is left of that"
                " where several kernels are legal; `moesort-tune sweep --tokens` adds other counts"
            )

    def list_calls(self) -> list[Asked]:
        """Return the questions of each condition of calls, and those of shapes without a row."""
        asked = [Asked(AS_SWEPT, self._own, swept=True)]
        asked += [self._ask_condition(name, condition) for name, condition in OF_CALLS.items()]
        return [one for one in (*asked, Asked(OTHER_SHAPES, self._between)) if one.questions]

    def list_settings(self) -> list[Asked]:
        """Return the questions of each other setting, and of each routing that was named. Raise MoesortTuneError."""
        names = [name for name in self._job.settings if name not in OF_CALLS]
        asked = [Asked(name, self._vary(self._own, name)) for name in names]
        asked += [self._ask_routing(routing) for routing in self._job.routings]
        return [one for one in asked if one.questions]

    def _ask_condition(self, name: str, condition: Condition) -> Asked:
        """Return the points of the condition's own entry, and those of other rows if the setting is wanted."""
        entry = self._others.get(condition)
        if entry is None:
            return Asked(name, self._vary(self._own, name) if name in self._job.settings else [])
        per_shape = max(1, self._per_shape // OTHER_SETTINGS[name].share)
        own = [question for question in self._draw(entry, per_shape) if question.swept]
        there = {row.shape for row in entry.rows}
        missing = [q for q in self._own if (q.shape.num_experts, q.shape.topk) not in there]
        rest = self._vary(missing, name) if name in self._job.settings else []
        return Asked(name, [*own, *rest], swept=not rest)

    def _ask_routing(self, routing: NamedRouting) -> Asked:
        questions = [question for question in self._own if routing.shape in (None, question.shape)]
        if not questions:
            raise MoesortTuneError(
                f"{routing.trace} holds the routing of {routing.shape}, and {self._job.table} has no row for that"
            )
        changes = {"routing": routing.routing, "trace": routing.trace}
        return Asked(routing.routing, change_settings(select_share(questions, SHARE_OF_ROUTING, 0), changes))

    def _vary(self, questions: Sequence[Question], name: str) -> list[Question]:
        variation, turn = OTHER_SETTINGS[name], list(OTHER_SETTINGS).index(name)
        return change_settings(select_share(questions, variation.share, turn), variation.changes)

    def _draw(self, entry: Entry, per_shape: int) -> list[Question]:
        questions = choose_questions(
            [entry.complete(row) for row in entry.rows],
            limits_of=self._worker.limits,
            measured=self._list_measured(entry, *filter(None, [self._launched_otherwise])),
            per_shape=per_shape,
            seed=self._job.seed,
        )
        return [self._name_trace(question) for question in questions]

    def _name_trace(self, question: Question) -> Question:
        """Return a question of a row that was swept under a trace with the trace's file. Raise MoesortTuneError."""
        settings = question.settings
        if not settings.routing.startswith("trace:"):
            return question
        if not question.swept:  # of another shape than the trace's
            return replace(question, settings=replace(settings, routing="uniform"))
        for routing in self._job.routings:
            if routing.routing == settings.routing:
                return replace(question, settings=replace(settings, trace=routing.trace))
        raise MoesortTuneError(
            f"the row of {question.shape} was measured under {settings.routing}; pass that file with"
            " --routing trace:FILE"
        )

    def _list_measured(self, *entries: Entry) -> dict[Shape, set[int]]:
        """Return the token counts behind the rows: those of the samples, and those that every sweep measures."""
        facts = self._worker.facts
        measured: dict[Shape, set[int]] = defaultdict(set)
        for entry, row in [(one, row) for one in entries for row in one.rows]:
            shape = Shape(row.num_experts, row.topk)
            tokens = TokenRange(*row.swept_range)
            rungs = list_rungs(shape, tokens, self._worker.limits(shape), provider=facts.provider, device=facts.limits)
            behind = select_samples(row, arch=facts.arch, entry=entry, samples=self._samples)
            measured[shape] |= {*rungs, *(sample.tokens for sample in behind)}
        return measured
