"""A sweep on several cards of one kind: replicas, slow cards, lost workers and cards that are gone."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.row_search import CONFIRMING_SEEDS, SweepPlan
from moesort_tune.sweep.runner import PROBES, Sweep, SweepResult
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.errors import DeviceFailedError, WorkerLostError, WorkerRefusedError, WorkerStartError
from moesort_tune.sweep.worker.messages import CheckRequest, Measured, MeasureRequest
from moesort_tune.tables.keeping import RowKeptError
from moesort_tune.tables.schema import Row
from tests.sweep.fakes import FACTS, FakeWorker, ListListener, ListSink, time_two_kernels
from tests.sweep.kernels import KERNELS, MULTIPHASE, ONESHOT

SHAPES = [Shape(experts, 2) for experts in (8, 32, 128)]
LONGEST = SHAPES[-1]


def make_card(bus: int, *, switch: int = 40, slowdown: float = 1.0, **options: Any) -> FakeWorker:
    """Return the worker of a card of its own, whose kernels take the same time at `switch` tokens."""
    facts = dataclasses.replace(FACTS, host="node", pci_address=f"0000:{bus:02x}:00")
    return time_two_kernels(
        lambda _, tokens: slowdown * (2 + 0.1 * tokens),
        lambda *_: slowdown * (2 + 0.1 * switch),
        facts=facts,
        **options,
    )


def sweep_by(
    *workers: FakeWorker,
    sink: ListSink | None = None,
    listener: ListListener | None = None,
    replicas: int = 2,
    **changes: Any,
) -> SweepResult:
    """Return the result of a sweep of every shape from 1 to 64 tokens."""
    whole = SweepPlan(SHAPES, TokenRange(1, 64), (Settings(),), StoppingRule(max_rounds=40), replicas=replicas)
    plan = dataclasses.replace(whole, **changes)
    sinks: dict[str, Any] = {"sinks": [sink or ListSink()], "listener": listener or ListListener()}
    return Sweep(plan, workers=workers, clock=lambda: 0.0, **sinks).run()


def count_cards(sink: ListSink, shape: Shape) -> set[int]:
    """Return on how many cards the points of a shape were measured."""
    cards: dict[int, set[str]] = {}
    for of, tokens, facts in sink.measured:
        if of == shape:
            cards.setdefault(tokens, set()).add(facts.pci_address)
    return {len(found) for found in cards.values()}


def list_tokens(sink: ListSink, shape: Shape) -> list[int]:
    """Return the token counts of a shape that were measured, ascending; one that was confirmed is there twice."""
    return sorted(tokens for of, tokens, _ in sink.measured if of == shape)


def lose(times: int, kind: type[Exception] = WorkerLostError) -> Callable[[CheckRequest | MeasureRequest], None]:
    """Return a function that loses its worker so many times at 48 tokens of the longest row."""
    left = times

    def before(request: CheckRequest | MeasureRequest) -> None:
        nonlocal left
        if isinstance(request, MeasureRequest) and (request.shape, request.tokens) == (LONGEST, 48) and left:
            left -= 1
            raise kind("the process that runs the kernels died with SIGKILL")

    return before


def test_row_is_measured_on_two_cards_which_the_row_says() -> None:
    """Each point of each row has two cards behind it, and the table says how far these lie apart."""
    sink = ListSink()
    result = sweep_by(make_card(1), make_card(2, slowdown=1.02), make_card(3), sink=sink)
    for row in result.rows:
        assert row.policy[:2] == ((1, ONESHOT), (42, MULTIPHASE))
        assert row.tie == ((39, 41, KERNELS),)
        assert row.evidence.cards == 2
        assert row.evidence.spread == pytest.approx(0.0, abs=0.021)
    assert all(count_cards(sink, shape) <= {2, 3} for shape in SHAPES)  # the cards are compared at points of one row
    assert count_cards(sink, LONGEST) == {2}


def test_win_that_does_not_hold_on_every_card_is_a_tie() -> None:
    """Cards that cross at 40 and at 44 tokens agree on neither kernel between; outside, both win."""
    result = sweep_by(make_card(1), make_card(2, switch=44))
    for row in result.rows:
        (tie,) = row.tie
        assert tie[0] <= 39
        assert tie[1] >= 45
        assert row.choose_kernel(38, KERNELS) == ONESHOT
        assert row.choose_kernel(tie[1] + 1, KERNELS) == MULTIPHASE


def sweep_in(seconds: float, *, shapes: int) -> tuple[SweepResult, ListListener]:
    """Return the result of a sweep whose points take a second each, and its warnings."""
    clock = ManualClock()

    def spend(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest):
            clock.now += 1.0

    plan = SweepPlan(
        SHAPES[:shapes],
        TokenRange(1, 512),
        (Settings(),),
        StoppingRule(max_rounds=40),
        time_budget_s=seconds,
        replicas=2,
    )
    workers = [make_card(bus, before=spend) for bus in (1, 2)]
    listener = ListListener()
    sweep = Sweep(plan, workers=workers, sinks=[ListSink()], listener=listener, clock=clock)
    return sweep.run(), listener


@dataclasses.dataclass
class ManualClock:
    """A clock that stands still unless it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.parametrize(("shapes", "seconds"), [(1, 60.0), (1, 100.0), (2, 80.0)])
def test_search_leaves_time_for_the_second_card(shapes: int, seconds: float) -> None:
    """With no more rows than cards, the jobs of a row still follow each other, and share the time."""
    result, _ = sweep_in(seconds, shapes=shapes)
    assert [row.evidence.cards for row in result.rows] == [2] * shapes


def test_row_on_one_card_says_that_the_time_ended() -> None:
    """Cards were there, but no time: whoever reads that no other was left would look for a broken one."""
    result, listener = sweep_in(20.0, shapes=1)
    assert [row.evidence.cards for row in result.rows] == [None]
    (cause,) = [text for text in listener.warnings if "rests on one card" in text]
    assert "the time budget ended before another" in cause


def test_row_on_one_card_says_that_others_lost_it() -> None:
    """The other card is there and has time, but its worker dies with this row."""
    listener = ListListener()
    sweep_by(make_card(1, before=lose(1000)), make_card(2), listener=listener)
    (cause,) = [text for text in listener.warnings if "rests on one card" in text]
    assert "it was lost on others: the process that runs the kernels died" in cause


def test_one_replica_measures_each_point_once() -> None:
    """Whoever asks for one card a row pays for one, but for the points by which the cards are compared."""
    sink = ListSink()
    result = sweep_by(make_card(1), make_card(2), sink=sink, replicas=1)
    assert [row.evidence.cards for row in result.rows] == [None] * len(SHAPES)
    assert count_cards(sink, LONGEST) == {1}


def test_slow_card_is_named_and_does_not_decide() -> None:
    """A card that takes half as long again is compared, named with host and address, and gets no rows."""
    sink, listener = ListSink(), ListListener()
    slow = make_card(9, slowdown=1.5, switch=30)
    result = sweep_by(make_card(1), make_card(2), slow, sink=sink, listener=listener)
    assert list(result.left_out) == ["node 0000:09:00"]
    assert any(text.startswith("node 0000:09:00 (fake) takes 38% longer") for text in listener.warnings)
    assert {shape for shape, _ in slow.timed} == {SHAPES[0]}
    assert all(row.tie == ((39, 41, KERNELS),) for row in result.rows)
    assert all(row.evidence.cards == 2 for row in result.rows)


@dataclasses.dataclass
class FadingCard(FakeWorker):
    """Takes twice as long once it has been compared with others."""

    faded: threading.Event = dataclasses.field(default_factory=threading.Event)

    def measure(self, request: MeasureRequest) -> Measured:
        """Return the times, doubled later on."""
        if len(self.timed) < PROBES:
            return super().measure(request)
        self.faded.set()
        slower = {name: _slow_down(formula) for name, formula in self.formulas.items()}
        return FakeWorker.measure(dataclasses.replace(self, formulas=slower), request)


def _slow_down(formula: Callable[[Shape, int], float]) -> Callable[[Shape, int], float]:
    return lambda shape, tokens: 2 * formula(shape, tokens)


def _measure_after(faded: threading.Event) -> Callable[[CheckRequest | MeasureRequest], None]:
    """Return a function that has a card, once it was compared, wait for another one's first slow point."""
    measured = 0

    def before(request: CheckRequest | MeasureRequest) -> None:
        nonlocal measured
        measured += isinstance(request, MeasureRequest)
        if measured > PROBES:
            assert faded.wait(20)

    return before


def test_card_that_becomes_slow_loses_the_rows_that_rest_on_it() -> None:
    """What it measured while it was slow does not decide, and two other cards measure it."""
    fading = FadingCard(**{field.name: getattr(make_card(9), field.name) for field in dataclasses.fields(FakeWorker)})
    others = [make_card(bus, before=_measure_after(fading.faded)) for bus in (1, 2)]
    sink = ListSink()
    result = sweep_by(*others, fading, sink=sink)
    assert list(result.left_out) == ["node 0000:09:00"]
    assert [Shape(*row.shape) for row in result.rows] == SHAPES
    assert all(row.evidence.cards == 2 and (row.evidence.spread or 0) < 0.01 for row in result.rows)


@pytest.mark.parametrize("times", [1, 2])
def test_lost_row_goes_on_where_it_was_lost_then_elsewhere(times: int) -> None:
    """A worker that dies costs the point in flight: the row is written, and no point is measured again."""
    sink, before = ListSink(), lose(times)
    workers = [make_card(1, before=before), make_card(2, before=before)]
    result = sweep_by(*workers, sink=sink, replicas=1)
    assert len(result.rows) == len(SHAPES)
    assert result.failed == {}
    assert len(result.incidents) == times
    assert all(text.startswith("128/2 was lost on node 0000:") for text in result.incidents)
    whole = ListSink()
    sweep_by(make_card(1), make_card(2), sink=whole, replicas=1)
    assert list_tokens(sink, LONGEST) == list_tokens(whole, LONGEST)


def test_row_that_only_one_card_loses_is_written_by_the_other() -> None:
    """A kernel that crashes on one card only is tried twice there, and the other card has the row."""
    bad = make_card(1, before=lose(1000))
    result = sweep_by(bad, make_card(2))
    assert result.failed == {}
    assert sum("lost on node 0000:01:00" in text for text in result.incidents) == 2
    assert [row.evidence.cards for row in result.rows] == [2, 2, None]


def test_failed_device_call_costs_the_card_its_row() -> None:
    """A card whose calls fail is tried twice and named, and the other one has the row."""

    def fail(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest) and (request.shape, request.tokens) == (LONGEST, 48):
            raise DeviceFailedError("hipGraphLaunch failed with hipErrorECCNotCorrectable (214)")

    result = sweep_by(make_card(1, before=fail), make_card(2))
    assert result.failed == {}
    lost = "128/2 was lost on node 0000:01:00: hipGraphLaunch failed with hipErrorECCNotCorrectable (214)"
    assert result.incidents == [lost] * 2
    with pytest.raises(DeviceFailedError, match=r"^hipGraphLaunch failed"):
        sweep_by(make_card(1, before=fail))


@pytest.mark.parametrize("kind", [DeviceFailedError, WorkerStartError])
def test_card_that_fails_at_the_limits_is_an_incident(kind: type[Exception]) -> None:
    """The first question of a comparison may fail as well as a point of it."""

    class Failing(FakeWorker):
        """Fails at its first question."""

        def limits(self, shape: Shape) -> Limits:
            """Fail."""
            del shape
            raise kind("hipMalloc failed")

    fields = [field.name for field in dataclasses.fields(FakeWorker)]
    bad = Failing(**{name: getattr(make_card(1), name) for name in fields})
    result = sweep_by(bad, make_card(2), time_budget_s=100.0)
    assert len(result.rows) == len(SHAPES)
    assert any("hipMalloc failed" in text for text in result.incidents)


def test_wrong_kernel_is_named_with_its_card() -> None:
    """It ends the sweep of all cards, so it matters on which it was wrong, also where cards are compared."""

    def refuse(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest):
            raise WorkerRefusedError("oneshot is wrong")

    with pytest.raises(WorkerRefusedError, match=r"^node 0000:02:00: oneshot is wrong"):
        sweep_by(make_card(1), make_card(2, before=refuse))


def test_losses_of_a_row_count_through_all_its_steps() -> None:
    """Two cards that lose it in the checks and one that loses it in its search: the fourth is not tried any more."""
    losses: list[type] = []

    def lose_thrice(request: CheckRequest | MeasureRequest) -> None:
        wanted = CheckRequest if len(losses) < 2 else MeasureRequest
        if isinstance(request, wanted) and (request.shape, request.tokens) == (LONGEST, 32):
            losses.append(type(request))
            raise WorkerLostError("the process that runs the kernels died with SIGKILL")

    result = sweep_by(*(make_card(bus, before=lose_thrice) for bus in (1, 2, 3, 4)))
    assert losses == [CheckRequest, CheckRequest, MeasureRequest]
    assert list(result.failed) == [RowKey(LONGEST)]
    assert len(result.incidents) == 3


def test_card_that_is_gone_leaves_its_rows_to_others() -> None:
    """A card whose worker cannot be started again is named, and the sweep ends without it."""
    listener = ListListener()
    died = "the process that runs the kernels died with SIGKILL"
    is_gone = False

    def go(request: CheckRequest | MeasureRequest) -> None:
        nonlocal is_gone
        is_gone |= isinstance(request, MeasureRequest) and (request.shape, request.tokens) == (LONGEST, 48)
        if is_gone:
            raise WorkerStartError(died)

    result = sweep_by(make_card(1, before=go), make_card(2), listener=listener)
    assert len(result.rows) == len(SHAPES)
    assert result.failed == {}
    assert result.incidents == [f"node 0000:01:00 is opened once more: {died}", f"node 0000:01:00 is gone: {died}"]
    assert result.left_out == {"node 0000:01:00": f"node 0000:01:00 is gone: {died}"}


def test_card_whose_new_worker_is_killed_is_opened_once_more() -> None:
    """A kill while the device opens says no more about the card than one at any other time."""
    result = sweep_by(make_card(1, before=lose(1, WorkerStartError)), make_card(2))
    assert result.left_out == {}
    assert [row.evidence.cards for row in result.rows] == [2] * len(SHAPES)


def test_wins_are_confirmed_where_the_second_card_is_gone() -> None:
    """The card that searched measures the wins again, as it would have done without a second card."""
    workers = [make_card(1), make_card(2)]
    seeds: set[int] = set()

    def watch(other: FakeWorker) -> Callable[[CheckRequest | MeasureRequest], None]:
        def before(request: CheckRequest | MeasureRequest) -> None:
            if isinstance(request, MeasureRequest):
                if len(other.timed) > PROBES:
                    raise WorkerStartError("the device could not be opened")
                seeds.add(request.settings.seed)

        return before

    for worker, other in (workers, workers[::-1]):
        worker.before = watch(other)
    result = sweep_by(*workers, shapes=SHAPES[:1])
    assert [row.evidence.cards for row in result.rows] == [None]
    assert max(seeds) >= CONFIRMING_SEEDS


def test_confirmation_that_is_lost_does_not_cost_the_row() -> None:
    """What was measured is written, after as many tries as any other step has."""
    bad = make_card(1, before=lose(1000))

    def lose_confirmation(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest) and request.settings.seed >= CONFIRMING_SEEDS:
            raise WorkerLostError("the process that runs the kernels died with SIGKILL")

    result = sweep_by(bad, make_card(2, before=lose_confirmation))
    assert [row.evidence.cards for row in result.rows] == [2, 2, None]
    assert result.failed == {}


@pytest.mark.parametrize("kind", [WorkerLostError, WorkerStartError])
def test_row_that_the_table_keeps_costs_itself_only(kind: type[Exception]) -> None:
    """Also where it would be written for want of a card that could measure it too."""

    class KeepingSink(ListSink):
        """Keeps another row of the longest shape."""

        def keep_row(self, row: Row, *arguments: Any, **options: Any) -> Row:
            """Refuse that one."""
            if Shape(*row.shape) == LONGEST:
                raise RowKeptError("the row that is there is worth more")
            return super().keep_row(row, *arguments, **options)

    result = sweep_by(make_card(1, before=lose(1000, kind)), make_card(2), sink=KeepingSink())
    assert result.failed == {RowKey(LONGEST): "the row that is there is worth more"}
    assert len(result.rows) == len(SHAPES) - 1


def test_sweep_ends_where_every_card_is_gone() -> None:
    """Nobody waits for cards that do not come back; the rows that are missing are named."""

    def be_gone(request: CheckRequest | MeasureRequest) -> None:
        if isinstance(request, MeasureRequest) and request.tokens == 64:
            raise WorkerStartError("the device could not be opened")

    result = sweep_by(make_card(1, before=be_gone), make_card(2, before=be_gone), replicas=1)
    assert result.rows == []
    assert set(result.failed) == {RowKey(shape) for shape in SHAPES}
    assert len(result.left_out) == 2


def test_partitions_of_a_card_are_never_timed_together() -> None:
    """Two workers of one address take turns; one of another address works beside them."""
    inside: dict[str, int] = {}
    most: dict[str, int] = {}

    def enter(facts: Any) -> None:
        inside[facts.pci_address] = inside.get(facts.pci_address, 0) + 1
        most[facts.pci_address] = max(most.get(facts.pci_address, 0), inside[facts.pci_address])

    class Counted(FakeWorker):
        """Counts how many of its card are at work."""

        def measure(self, request: MeasureRequest) -> Measured:
            """Measure, and be seen."""
            enter(self.facts)
            try:
                time.sleep(0.001)  # long enough for others to come in, if they may
                return super().measure(request)
            finally:
                inside[self.facts.pci_address] -= 1

    fields = [field.name for field in dataclasses.fields(FakeWorker)]
    workers = [Counted(**{name: getattr(make_card(bus), name) for name in fields}) for bus in (1, 1, 1, 2)]
    result = sweep_by(*workers)
    assert len(result.rows) == len(SHAPES)
    assert most == {"0000:01:00": 1, "0000:02:00": 1}
