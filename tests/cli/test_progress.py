"""What a person sees of a sweep on several cards, with a terminal and without."""

import io
from dataclasses import dataclass

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from moesort_tune.cli.duration import format_seconds
from moesort_tune.cli.progress import BarProgress, LineProgress
from moesort_tune.cli.tally import Tally
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.verdict import Verdict
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from tests.tables.examples import row

POINT = MeasuredPoint({"oneshot": 1.0, "multiphase": 2.0}, Verdict(("oneshot",)), 0.0)

KEYS = [RowKey(Shape(experts, 2), kind=f"{units} compute units") for experts in (8, 64) for units in (4, 8)]


@dataclass
class Clock:
    """Tell the time that it is set to."""

    now: float = 100.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


def test_row_that_is_begun_again_is_not_counted_again() -> None:
    """A row that was lost, or whose card was left out, goes on elsewhere; its number is that of the rows before."""
    console = Console(file=io.StringIO(), width=200)
    progress = LineProgress(console, print)
    progress.announce_rows(KEYS[:2], 2)
    for card in ("node 0000:01:00", "node 0000:02:00"):
        progress.announce_row(KEYS[0], 9, card)
    progress.announce_row(KEYS[1], 9, "node 0000:01:00")
    assert console.file.getvalue().splitlines()[1:] == [  # type: ignore[attr-defined]
        f"[1/2] experts/topk {KEYS[0]}: about 9 token counts, on node 0000:01:00",
        f"      experts/topk {KEYS[0]}: begun again, on node 0000:02:00",
        f"[2/2] experts/topk {KEYS[1]}: about 9 token counts, on node 0000:01:00",
    ]


def test_points_ahead_follow_from_the_rows_that_began() -> None:
    """Rows that have not begun are like the others, and a row that ended has no points ahead."""
    clock = Clock()
    tally = Tally(rows=4, cards=3, clock=clock)
    assert tally.estimate_seconds_left() is None
    tally.plan(KEYS[0], 30)
    tally.plan(KEYS[1], 50)
    assert tally.estimate_points() == 160
    for _ in range(20):
        tally.count_point(KEYS[0])
    clock.now += 10
    assert tally.estimate_seconds_left() == pytest.approx(70)
    tally.end_row(KEYS[0])
    assert tally.estimate_points() == 140
    tally.plan(KEYS[0], 20)
    assert tally.estimate_points() == 180
    assert str(tally) == "3 cards, 1 of 4 rows, 20 points, 10 s elapsed, 80 s left"


def test_time_left_of_a_budget_is_what_has_not_passed() -> None:
    """However many points there will be: they are what the time has room for."""
    clock = Clock()
    tally = Tally(rows=4, cards=1, time_budget_s=60, clock=clock)
    tally.plan(KEYS[0], 10)
    tally.count_point(KEYS[0])
    clock.now += 12
    assert tally.estimate_points() == 5
    assert tally.estimate_seconds_left() == pytest.approx(48)


@pytest.mark.parametrize(
    ("cards", "done", "place"), [(1, 0, "row 1 of 4"), (1, 4, "row 4 of 4"), (3, 1, "3 cards, 1 of 4 rows")]
)
def test_place_is_the_row_at_work(cards: int, done: int, place: str) -> None:
    """One card works on a row after the other; several work side by side, so that only those done can be counted."""
    tally = Tally(rows=4, cards=cards)
    for key in KEYS[:done]:
        tally.end_row(key)
    assert tally.format_place() == place


def test_lines_name_row_kind_and_what_is_left() -> None:
    """Without a terminal, rows of several cards come in any order, so each line says which it is of."""
    text = io.StringIO()
    rows: list[str] = []
    progress = LineProgress(Console(file=text, width=200), rows.append)
    progress.announce_rows(KEYS, 3)
    progress.announce_row(KEYS[0], 2, "node 0000:01:00")
    progress.report_point(KEYS[0], 1, POINT)
    progress.report_missing_card("node 0000:02:00 is gone: it fell off the bus")
    progress.report_missing_row(KEYS[0], "the kernels did not end within 30 s")
    progress.report_row(KEYS[1], row())
    assert text.getvalue().splitlines()[1:] == [
        "[1/4] experts/topk 8/2 on 4 compute units: about 2 token counts, on node 0000:01:00",
        "warning: node 0000:02:00 is gone: it fell off the bus",
        "warning: 8/2 on 4 compute units gets no row: the kernels did not end within 30 s",
        "      2 cards, 2 of 4 rows, 1 points, 0 s elapsed, 0 s left",
    ]
    assert len(rows) == 1
    assert rows[0].startswith(f"{KEYS[1]}: ")


def test_bar_counts_cards_rows_and_points() -> None:
    """On a terminal, one bar shows all cards; a row that needed fewer points moves it to its end."""
    text = io.StringIO()
    rows: list[str] = []
    console = Console(file=text, width=200, force_terminal=True)
    with Progress(TextColumn("{task.description}|{task.fields[counts]}"), console=console, auto_refresh=False) as bar:
        progress = BarProgress(console, rows.append, bar)
        progress.announce_opening("aiter")
        assert bar.tasks[0].description == "opening the kernels: AITER compiles its kernels at their first use"
        progress.announce_rows(KEYS[:1], 3)
        progress.announce_row(KEYS[0], 9, "node 0000:01:00")
        progress.announce_replica(KEYS[0], 2, "node 0000:02:00")
        progress.announce_point(KEYS[0], 5, "timing")
        progress.report_point(KEYS[0], 5, POINT)
        (task,) = bar.tasks
        assert (task.completed, task.total) == (1, 2)
        progress.report_row(KEYS[0], row())
        assert (task.completed, task.total) == (1, 1)
        assert task.description == "timing 8/2 on 4 compute units, 5 tokens"
        assert task.fields["counts"] == "3 cards, 1 of 1 rows, 0 s elapsed"
    assert len(rows) == 1
    assert "token counts" not in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_seconds_are_rounded_as_a_person_would(seconds: float, text: str) -> None:
    """An estimate has no more digits than it deserves."""
    assert format_seconds(seconds) == text
