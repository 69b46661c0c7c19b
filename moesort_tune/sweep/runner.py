"""Run a sweep: check every row, search its token counts, measure it on other cards, pass samples and rows on at once.

Under a time budget a sweep goes breadth first: every row gets a first answer before any is refined, then the next point
is always one of the row whose choices are expected to lose most, and what is left of the time goes into whole searches.

Devices are behind `Worker`s, files behind a `Sink`, the terminal behind a `Listener`.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from moesort_tune.domain.candidates import list_legal_kernels
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.card_points import RowPoints
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.dealing import Dealer, Hand, Job
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import Deadline, Listener, OutOfTimeError, RowSearch, RowTask, Sink, SweepPlan
from moesort_tune.sweep.row_state import TOGETHER, TRIES, RowState, Stage, list_states
from moesort_tune.sweep.rows import list_coarse_rungs, list_rungs, list_rungs_after
from moesort_tune.sweep.search import ROUGH_EDGE
from moesort_tune.sweep.slow_cards import find_slow_cards
from moesort_tune.sweep.worker.errors import DeviceFailedError, WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import CheckRequest, Worker
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.schema import Row

PROBES: Final = 8
"""Token counts of one row that every card measures first, to be compared with its siblings."""

PROBE_SHARE: Final = 0.05
"""Share of a time budget that these take at most."""

STARTS_OF_A_CARD: Final = 2
"""Times in a row that a card may fail to open before it is given up."""


@dataclass
class SweepResult:
    """Rows that were written, and those that were not with the reason.

    incidents: what happened to workers and cards, a sentence each. left_out: cards that do not decide, with the reason.
    """

    written: dict[RowKey, Row] = field(default_factory=dict)
    failed: dict[RowKey, str] = field(default_factory=dict)
    unfinished: dict[RowKey, str] = field(default_factory=dict)
    incidents: list[str] = field(default_factory=list)
    left_out: dict[Card, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Return the rows that were written."""
        return list(self.written.values())


class Sweep:
    """A sweep of devices of one kind.

    workers: each takes the next row as soon as it is free. sinks: one for each of the plan's settings. Sinks and
    `listener` are called by one of them at a time. tries: how often a row may be lost with its worker; by default once
    where there is one worker only.
    """

    def __init__(
        self,
        plan: SweepPlan,
        *,
        workers: Sequence[Worker],
        sinks: Sequence[Sink],
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        tries: int | None = None,
    ) -> None:
        self.plan = plan
        self.hands = [Hand(worker) for worker in workers]
        self.listener = listener
        self._alive = list(self.hands)
        self._unprobed = list(self.hands) if len({hand.card for hand in self.hands}) > 1 else []
        self._tries = tries or (TRIES if len(self.hands) > 1 else 1)
        self._sinks = dict(zip(plan.settings, sinks, strict=True))
        self._dealer = Dealer()
        self._clock = clock
        self._result = SweepResult()
        self._slow: set[Card] = set()
        settings = {one.condition: one for one in plan.settings}
        first_stage = Stage.CHECK if plan.time_budget_s is None else Stage.COARSE
        self._states = list_states([(key, settings[key.condition]) for key in plan.list_keys()], first_stage)
        self._begin = clock()
        self._end = self._begin + (math.inf if plan.time_budget_s is None else plan.time_budget_s)

    def run(self) -> SweepResult:
        """Check all shapes first, or measure them coarsely, so that a wrong kernel is found before a row is written.

        Raise WorkerRefusedError (a wrong kernel), with one try also DeviceFailedError and WorkerStartError, and
        whatever the sinks raise.
        """
        (result,) = run_sweeps([self])
        return result

    def join(self, dealer: Dealer) -> None:
        """Use the locks of a dealer."""
        self._dealer = dealer
        self._sinks = {settings: dealer.guard(sink) for settings, sink in self._sinks.items()}
        self.listener = dealer.guard(self.listener)
        for hand in self.hands if len(self.hands) > 1 else []:
            hand.worker = dealer.watch(hand.worker)

    def build_result(self) -> SweepResult:
        """Return what became of the rows, in the order of the plan."""
        written = self._result.written
        return replace(self._result, written={one.key: written[one.key] for one in self._states if one.key in written})

    def take(self, hand: Hand) -> Job | None:
        """Return the next job of a hand."""
        self._settle_stuck()
        if hand not in self._alive:
            return None
        first = min((state.stage for state in self._states), default=Stage.SETTLED)
        if first is not Stage.CHECK and self._unprobed:
            return self._take_probe(hand)
        wanted = [
            state
            for state in self._states
            if self._wants(state, hand) and (first not in TOGETHER or state.stage is first)
        ]
        if not wanted:
            return None
        state = min(wanted, key=self._rank)
        state.busy = True
        return partial(self._run, state, hand)

    def _rank(self, state: RowState) -> tuple[float, ...]:
        """Return what sorts the next rows: where time is short what has most to gain, else the longest first.

        One hand without a limit takes the rows as they were planned. Of first answers, those of the first condition,
        which stands in for the others, come first.
        """
        if self.plan.time_budget_s is not None:
            return state.stage, -state.gain, self.plan.settings.index(state.settings)
        if len(self.hands) > 1:
            return state.stage, -state.cost
        return ()

    def is_open_for(self, hand: Hand) -> bool:
        """Return whether a hand has to wait: a row is open, which may need it later."""
        return hand in self._alive and any(state.is_open for state in self._states)

    def _wants(self, state: RowState, hand: Hand) -> bool:
        """Return whether a hand can do the next step of a row."""
        if state.busy or not state.is_open or not state.allows(hand, self._alive):
            return False
        if state.stage is Stage.REPLICATE:
            return bool(state.list_lacking(hand, self.plan.replicas))
        return state.stage is not Stage.SEARCH or state.is_ready

    def _settle_stuck(self) -> None:
        """End the rows that no hand can go on with: write what is there, or report the row."""
        for state in self._states:
            if not state.busy and state.is_open and not self._can_go_on(state):
                with self._dealer.lock():
                    self._end_stuck(state)

    def _can_go_on(self, state: RowState) -> bool:
        """Return whether a row waits for another one, or for a hand that is at work."""
        waits = state.stage is Stage.SEARCH and not state.is_ready
        return waits or any(self._wants(state, hand) for hand in self._alive)

    def _end_stuck(self, state: RowState) -> None:
        if state.stage >= Stage.REPLICATE:
            self._confirm_or_write(state)
        else:
            self._give_up(state, state.last_words or "no card is left that could measure it", self._result.failed)

    def _take_probe(self, hand: Hand) -> Job | None:
        """Return the probe of a hand, None where others are still at theirs."""
        state = next((one for one in self._states if one.stage < Stage.REPLICATE), None)
        if state is None:
            self._unprobed.clear()
        if state is None or hand not in self._unprobed or hand.probing:
            return None
        hand.probing = True
        return partial(self._probe, state, hand)

    def _run(self, state: RowState, hand: Hand) -> None:
        """Do the next step of a row. Let one whose kernels crash, never end or find no time cost itself only."""
        steps = {
            Stage.CHECK: self._check,
            Stage.COARSE: self._answer_coarsely,
            Stage.REFINE: self._refine,
            Stage.SEARCH: self._search,
            Stage.REPLICATE: self._replicate,
            Stage.CONFIRM: self._confirm,
        }
        try:
            with self._name_card(hand):
                steps[state.stage](state, hand)
            hand.failed_starts = 0
        except (WorkerStartError, WorkerLostError, OutOfTimeError) as error:
            with self._dealer.lock():
                self._handle(error, state, hand)
        finally:
            state.busy = False

    @contextmanager
    def _name_card(self, hand: Hand) -> Iterator[None]:
        """Name the card in an error that ends the sweep of all cards."""
        try:
            yield
        except WorkerRefusedError as error:
            if len(self.hands) == 1:
                raise
            raise WorkerRefusedError(f"{hand.name}: {error}") from error

    def _handle(self, error: MoesortTuneError, state: RowState, hand: Hand) -> None:
        if self._tries == 1 and isinstance(error, WorkerStartError | DeviceFailedError):
            raise error
        if isinstance(error, WorkerLostError):
            self._report_loss(state, hand, error)
        elif isinstance(error, OutOfTimeError):
            self._give_up(state, str(error), self._result.unfinished)
        else:
            self._report_failed_start(hand, error)

    def _report_failed_start(self, hand: Hand, error: MoesortTuneError) -> None:
        """Give a card up that cannot be opened twice in a row: once, its new worker may have been killed too."""
        hand.failed_starts += 1
        if hand.failed_starts < STARTS_OF_A_CARD:
            self._note(f"{hand.name} is opened once more: {error}")
        else:
            self._retire(hand, f"{hand.name} is gone: {error}")

    def _report_loss(self, state: RowState, hand: Hand, error: WorkerLostError) -> None:
        """Note that a worker was lost, and give a row up that was lost too often."""
        state.lose(hand, str(error))
        if self._tries > 1:
            self._note(f"{state.key} was lost on {hand.name}: {error}")
        if len(state.lost_by) < self._tries:
            return
        if state.stage >= Stage.REPLICATE:
            self._confirm_or_write(state)
        else:
            self._give_up(state, str(error), self._result.failed)

    def _give_up(self, state: RowState, reason: str, reasons: dict[RowKey, str]) -> None:
        reasons[state.key] = reason
        self.listener.report_missing_row(state.key, reason)
        state.settle(failed=True)

    def _note(self, incident: str) -> None:
        self._result.incidents.append(incident)
        self.listener.warn(incident)

    def _retire(self, hand: Hand, reason: str) -> None:
        """Let a card have no more rows."""
        self._alive = [one for one in self._alive if one is not hand]
        self._unprobed = [one for one in self._unprobed if one is not hand]
        self._result.left_out[hand.card] = reason
        self._result.incidents.append(reason)
        self.listener.report_missing_card(reason)

    def _check(self, state: RowState, hand: Hand) -> None:
        """Check the coarse rungs on all inputs; every other count is checked on one when it is measured."""
        task = self._plan_row(state, hand)
        for tokens in list_coarse_rungs(task.rungs, task.limits):
            self.listener.announce_point(task.key, tokens, "checking")
            kernels = list_legal_kernels(tokens, task.limits)
            hand.worker.check(CheckRequest(task.key.shape, tokens, task.settings, kernels))
        state.advance(Stage.SEARCH)

    def _plan_row(self, state: RowState, hand: Hand) -> RowTask:
        """Return a row's task, which is the same on all cards; the first one to check the row asks for its limits."""
        if state.task is None:
            task, points = self._build_task(state, hand)
            with self._dealer.lock():
                if state.task is None:  # hands that are compared plan one row at the same time
                    state.task, state.points = task, points
        return state.task

    def _build_task(self, state: RowState, hand: Hand) -> tuple[RowTask, RowPoints]:
        shape, settings = state.key.shape, state.settings
        limits, facts = hand.worker.limits(shape), hand.worker.facts
        known = self._sinks[settings].find_known(shape, limits)
        points = RowPoints({tokens: dict(by_card) for tokens, by_card in known.items()}, self._slow)
        rungs = list_rungs(
            shape,
            self.plan.tokens,
            limits,
            provider=facts.provider,
            device=facts.limits,
            condition=settings.condition,
        )
        return RowTask(state.key, settings, limits, rungs), points

    def _probe(self, state: RowState, hand: Hand) -> None:
        """Measure the points that all cards are compared by."""
        failure: MoesortTuneError | None = None
        try:
            with self._name_card(hand):
                task = self._plan_row(state, hand)
                self._open_search(task, state, hand, self._compute_probe_deadline()).probe(PROBES)
        except (WorkerLostError, WorkerStartError) as error:
            failure = error
        with self._dealer.lock():
            self._end_probe(hand, failure)

    def _end_probe(self, hand: Hand, failure: MoesortTuneError | None) -> None:
        if isinstance(failure, WorkerStartError):
            self._report_failed_start(hand, failure)
        elif failure is not None:
            self._note(f"{hand.name} was lost while it was compared with others: {failure}")
        self._unprobed = [one for one in self._unprobed if one is not hand]
        if not self._unprobed:
            self._judge_cards()

    def _answer_coarsely(self, state: RowState, hand: Hand) -> None:
        """Measure the first answer of a row; the points that it has already count too."""
        task = self._plan_row(state, hand)
        known = state.points.list_known(self.plan.tokens) if state.points else []
        state.search = self._open_search(task, state, hand, self._end, begun=known)
        rows = sum(one.stage is Stage.COARSE for one in self._states)
        state.search.answer_coarsely(self._divide(rows), hand.name if len(self.hands) > 1 else "")
        with self._dealer.lock():
            state.advance(Stage.REFINE)

    def _refine(self, state: RowState, hand: Hand) -> None:
        """Measure one more point of a row, or let it go on where that is not worth it or the time is up."""
        search = _require_search(state)
        deadline = self._compute_measuring_end()
        search.resume(hand.worker, Deadline(deadline, self._clock))
        if self._clock() >= deadline:
            with self._dealer.lock():
                self._settle_or_replicate(state, out_of_time=self._clock() >= self._end)
        elif not search.refine(self._divide(len(self._states))):
            with self._dealer.lock():
                state.advance(Stage.SEARCH)

    def _search(self, state: RowState, hand: Hand) -> None:
        """Search a row; one of a later condition begins from what the first of its shape found."""
        task = self._plan_row(state, hand)
        base = state.base
        if base is not None and base.search is not None and base.row is not None:
            task = _begin_from(base.search, base.row, task)
        begun = state.search.visited if state.search is not None and self.plan.time_budget_s is not None else []
        search = self._open_search(task, state, hand, self._compute_deadline(state), begun=begun)
        search.run(confirm=not self._has_other_card(hand), card=hand.name if len(self.hands) > 1 else "")
        state.search = search
        with self._dealer.lock():
            if self._may_go_on(search):
                state.advance(Stage.REFINE)
                return
            state.row = search.build_row()
            self._settle_or_replicate(state)

    def _may_go_on(self, search: RowSearch) -> bool:
        """Return whether there is time for a row whose share is over, or whose new points call for others."""
        limited = self.plan.time_budget_s is not None and self._clock() < self._compute_measuring_end()
        return limited and (search.can_gain or not search.finished)

    def _replicate(self, state: RowState, hand: Hand) -> None:
        search = _require_search(state)
        search.resume(hand.worker, Deadline(self._compute_deadline(state), self._clock))
        search.replicate(state.list_lacking(hand, self.plan.replicas))
        with self._dealer.lock():
            self._settle_or_replicate(state, out_of_time=self._clock() >= self._end)

    def _settle_or_replicate(self, state: RowState, *, out_of_time: bool = False) -> None:
        """Write a row that has all its points, or let another card add what it lacks."""
        self._judge_cards()
        if not state.has_all_points():
            state.advance(self._get_stage_of_measuring())
            return
        state.advance(Stage.REPLICATE)
        if out_of_time or not any(state.list_lacking(hand, self.plan.replicas) for hand in self._alive):
            self._confirm_or_write(state)

    def _confirm_or_write(self, state: RowState) -> None:
        """Write a row; first let a card measure its wins again where no other one did, if there is time."""
        search = _require_search(state)
        on_one_card = not search.confirmed and search.build_row().evidence.cards is None
        if on_one_card and self._clock() < self._end and any(state.allows(hand, self._alive) for hand in self._alive):
            state.advance(Stage.CONFIRM)
        else:
            self._write(state)

    def _confirm(self, state: RowState, hand: Hand) -> None:
        search = _require_search(state)
        search.resume(hand.worker, Deadline(self._compute_deadline(state), self._clock))
        search.confirm()
        with self._dealer.lock():
            self._settle_or_replicate(state, out_of_time=self._clock() >= self._end)

    def _write(self, state: RowState) -> None:
        """Put a row into the table with what it rests on, or give it up where the table keeps another."""
        search = _require_search(state)
        try:
            row = self._sinks[state.settings].keep_row(search.build_row(), search.points, finished=search.finished)
        except RowKeptError as error:
            self._give_up(state, str(error), self._result.failed)
            return
        state.row = self._result.written[state.key] = row
        self.listener.report_row(state.key, row)
        if doubts := search.find_doubts():
            self.listener.warn(doubts)
        if row.evidence.cards is None and self.plan.replicas > 1 and len(self.hands) > 1:
            self.listener.warn(f"{state.key} rests on one card: {self._explain_one_card(state)}")
        state.settle()

    def _explain_one_card(self, state: RowState) -> str:
        """Return why no other card has measured all that a row rests on."""
        if self._clock() >= self._end:
            return "the time budget ended before another had measured all of it; raise --time-budget, or use --resume"
        if state.last_words and len({hand.card for hand in self._alive}) > 1:
            return f"it was lost on others: {state.last_words}"
        return "no other of its kind was left to measure it too"

    def report_cut(self) -> None:
        """Warn of the rows whose search the time budget cut, and of what their choices are expected to lose.

        Rows that got no answer at all count among them.
        """
        cut = [state for state in self._states if state.key in self._result.written and not _is_finished(state)]
        if not cut:
            return
        worst = max(cut, key=lambda state: self._get_loss(state.key))
        count = len(cut) + len(self._result.unfinished)
        self.listener.warn(
            f"the time budget ended before {count} of {len(self._states)} rows were searched to their end: what lies"
            f" between the points of unlike winners counts as a tie, and choices are expected to lose up to"
            f" {self._get_loss(worst.key):.1%} ({worst.key}); raise --time-budget, or go on with --resume"
        )

    def _get_loss(self, key: RowKey) -> float:
        return self._result.written[key].evidence.expected_loss or 0.0

    def _has_other_card(self, hand: Hand) -> bool:
        return self.plan.replicas > 1 and any(one.card != hand.card for one in self._alive)

    def _judge_cards(self) -> None:
        """Leave out the cards that are slower than their siblings, and search rows again that rest on them."""
        points = [
            {card: point.times_us for card, point in list(by_card.items())}
            for state in self._states
            for by_card in (list(state.points.by_tokens.values()) if state.points else [])
        ]
        for card, share in find_slow_cards(points).items():
            if card in self._slow:
                continue
            self._slow.add(card)
            for hand in [one for one in self._alive if one.card == card]:
                self._retire(hand, _format_slow(card, share, hand))
            for state in self._states:
                if not (state.busy or state.failed or state.search is None or state.has_all_points()):
                    state.advance(self._get_stage_of_measuring())

    def _get_stage_of_measuring(self) -> Stage:
        """Return the stage from which a row has its points measured."""
        return Stage.SEARCH if self.plan.time_budget_s is None else Stage.COARSE

    def _open_search(
        self, task: RowTask, state: RowState, hand: Hand, deadline: float, begun: Collection[int] = ()
    ) -> RowSearch:
        return RowSearch(
            task,
            plan=self.plan,
            worker=hand.worker,
            sink=self._sinks[task.settings],
            listener=self.listener,
            within=Deadline(deadline, self._clock),
            known=state.points or RowPoints(),
            begun=begun,
        )

    def _compute_measuring_end(self) -> float:
        """Return when rows have to leave their first card: others, where there are any, measure all of it again."""
        return self._begin + (self._end - self._begin) / self._count_replicas()

    def _count_replicas(self) -> int:
        return max(1, min(self.plan.replicas, len({hand.card for hand in self._alive})))

    def _compute_deadline(self, state: RowState) -> float:
        """Return when the next job of a row has to end: those ahead share what is left evenly.

        A search leaves the time that other cards need to measure all of it again, since they cannot do so beside it.
        """
        now = self._clock()
        replicas = self._count_replicas()
        ahead = sum(replicas if one.stage < Stage.REPLICATE else 1 for one in self._states if one.is_open)
        share_ends = now + (self._end - now) / self._divide(ahead)
        return min(share_ends, self._compute_measuring_end()) if state.stage < Stage.REPLICATE else share_ends

    def _divide(self, jobs: int) -> int:
        """Return how many of these jobs one hand does, at least one."""
        return math.ceil(max(jobs, 1) / max(len(self._alive), 1))

    def _compute_probe_deadline(self) -> float:
        return self._clock() + (self._end - self._clock()) * PROBE_SHARE


def run_sweeps(sweeps: Sequence[Sweep]) -> list[SweepResult]:
    """Run sweeps of different kinds of devices side by side, with one table and one listener for all."""
    dealer = Dealer()
    for sweep in sweeps:
        sweep.join(dealer)
    keys = [key for sweep in sweeps for key in sweep.plan.list_keys()]
    cards = sum(len(sweep.hands) for sweep in sweeps)
    sweeps[0].listener.announce_rows(keys, cards, sweeps[0].plan.time_budget_s)
    dealer.deal([(sweep, sweep.hands) for sweep in sweeps])
    for sweep in sweeps:
        sweep.report_cut()
    return [sweep.build_result() for sweep in sweeps]


def _require_search(state: RowState) -> RowSearch:
    if state.search is None:
        raise ValueError(f"expected a row that was searched, got {state.key} at {state.stage.name}")
    return state.search


def _is_finished(state: RowState) -> bool:
    return state.search is not None and state.search.finished


def _begin_from(first: RowSearch, row: Row, task: RowTask) -> RowTask:
    """Return the task of another condition with what it needs to measure beside the first one's row."""
    rungs = list_rungs_after(row, first.points, task.rungs, task.limits)
    return replace(task, rungs=rungs, edge=ROUGH_EDGE)


def _format_slow(card: Card, share: float, hand: Hand) -> str:
    name = hand.worker.facts.name
    return (
        f"{card} ({name}) takes {share:.0%} longer than others of its kind: its times do not decide, and it gets no"
        " more rows; look at its clocks, power limit and cooling, and at what else runs on it"
    )
