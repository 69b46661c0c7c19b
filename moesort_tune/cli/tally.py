"""Count what a sweep has done on all its cards, and estimate what is ahead."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from moesort_tune.cli.duration import format_seconds
from moesort_tune.sweep.row_key import RowKey


@dataclass
class Tally:
    """Rows and points of a sweep.

    rows: all of them; planned: points of those that began, as far as they are known; measured: those that are there.
    time_budget_s: of the whole sweep, None for no limit.
    """

    rows: int
    cards: int
    time_budget_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    rows_done: int = 0
    points: int = 0
    planned: Counter[RowKey] = field(default_factory=Counter)
    measured: Counter[RowKey] = field(default_factory=Counter)
    _start: float | None = None

    def plan(self, key: RowKey, points: int) -> None:
        """Add points that are ahead of a row."""
        if self._start is None:
            self._start = self.clock()
        self.planned[key] = self.measured[key] + points

    def count_point(self, key: RowKey) -> None:
        """Count a point."""
        self.points += 1
        self.measured[key] += 1

    def end_row(self, key: RowKey) -> None:
        """Count a row, which has no more points ahead."""
        self.rows_done += 1
        self.planned[key] = self.measured[key]

    def estimate_points(self) -> float:
        """Return the points of the whole sweep, as many as its time has room for at the speed until now.

        Without a limit, rows that have not begun are taken to be like the others.
        """
        if self.time_budget_s is not None and self._start is not None:
            passed = max(self.clock() - self._start, 1e-9)
            return self.points * max(self.time_budget_s / passed, 1.0)
        begun = sum(max(points, self.measured[key]) for key, points in self.planned.items())
        return begun * self.rows / max(len(self.planned), 1)

    def estimate_seconds_left(self) -> float | None:
        """Return the seconds that the points ahead take at the speed until now.

        None before the first point, and where no row is ahead.
        """
        if self._start is None or not self.points or self.rows_done >= self.rows:
            return None
        return (self.clock() - self._start) / self.points * max(self.estimate_points() - self.points, 0)

    def format_time(self) -> str:
        """Return ', 13 s elapsed, 27 s left', as far as that is known."""
        if self._start is None:
            return ""
        left = self.estimate_seconds_left()
        ahead = "" if left is None else f", {format_seconds(left)} left"
        return f", {format_seconds(self.clock() - self._start)} elapsed{ahead}"

    def format_place(self) -> str:
        """Return 'row 2 of 4'; where several are begun side by side, how many are done."""
        if self.cards > 1 or self.time_budget_s is not None:
            return f"{self._format_cards()}{self.rows_done} of {self.rows} rows"
        return f"row {min(self.rows_done + 1, self.rows)} of {self.rows}"

    def __str__(self) -> str:
        return f"{self._format_cards()}{self.rows_done} of {self.rows} rows, {self.points} points{self.format_time()}"

    def _format_cards(self) -> str:
        return f"{self.cards} cards, " if self.cards > 1 else ""
