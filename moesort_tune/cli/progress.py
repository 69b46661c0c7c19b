"""Show progress on stderr: a bar with the current row and the time left on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from moesort_tune.cli.row_text import format_launch_gaps, format_row
from moesort_tune.cli.streams import OutputError
from moesort_tune.cli.table_text import format_count
from moesort_tune.cli.tally import Tally
from moesort_tune.providers.facts import registry
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import LaunchGaps, Row

BAR_WIDTH: Final = 10
"""Columns, which leave the counts their place on a terminal of 80."""


class LineProgress:
    """Print one line when a row begins, the row when it is done, and what is left.

    print_row: prints a finished row as a result. archs: of the devices, each once. has_measured: a point was measured
    by this very sweep, and not by an earlier one.
    """

    def __init__(self, console: Console, print_row: Callable[[str], None]) -> None:
        self._console = console
        self._print_row = print_row
        self._tally = Tally(0, 1)
        self.archs: list[str] = []
        self.has_measured = False

    def announce_opening(self, provider: str) -> None:
        """Print what may take long."""
        if note := registry.get_facts(provider).opening_note:
            self._print_line(f"opening the kernels: {note}")

    def announce_device(self, facts: DeviceFacts, cards: Sequence[Card] = ()) -> None:
        """Print the device, and its cards."""
        self.archs += [] if facts.arch in self.archs else [facts.arch]
        text = f"{facts.name}, {facts.arch}, {facts.compute_units} compute units ({facts.runtime} runtime)"
        names = f"{format_count(len(cards), 'card', 'cards')}: {text}: {', '.join(cards)}"
        self._print_line(names if cards else f"device: {text}")

    def announce_launch_gaps(self, gaps: LaunchGaps) -> None:
        """Print what each further launch costs."""
        self._print_line(f"each further launch costs {format_launch_gaps(gaps)}")

    def announce_rows(self, keys: Sequence[RowKey], cards: int = 1, time_budget_s: float | None = None) -> None:
        """Print how many rows are ahead."""
        self._tally = Tally(len(keys), cards, time_budget_s)
        shapes, conditions = ({getattr(key, name) for key in keys} for name in ("shape", "condition"))
        what = format_count(len(shapes), "shape", "shapes") + (
            f" under {len(conditions)} conditions" if len(conditions) > 1 else ""
        )
        if time_budget_s is None:
            self._print_line(f"checking {what}, then timing them")
        else:
            self._print_line(
                f"checking and timing {what} for {time_budget_s:g} s: a first answer for every row, then more where"
                " most may be lost"
            )

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:
        """Print which row begins, or is begun again after it was lost or its card was left out."""
        again, where = key in self._tally.planned, f", on {card}" if card else ""
        self._tally.plan(key, points)
        if again:
            self._print_line(f"      experts/topk {key}: begun again{where}")
            return
        place = len(self._tally.planned)
        self._print_line(f"[{place}/{self._tally.rows}] experts/topk {key}: about {points} token counts{where}")

    def announce_replica(self, key: RowKey, points: int, card: Card) -> None:
        """Print which row another card measures."""
        self._tally.plan(key, points)
        self._print_line(f"      experts/topk {key}: {points} token counts again, on {card}")

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Print nothing: that would be too many lines."""

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:  # noqa: ARG002 - only counted
        """Count the point; lines for all of them would be too many."""
        self._tally.count_point(key)
        self.has_measured |= point.day is None

    def report_row(self, key: RowKey, row: Row) -> None:
        """Print the row, and what is left."""
        self._tally.end_row(key)
        self._print_row(f"{key}: {format_row(row)}")
        self._show_left()

    def report_missing_row(self, key: RowKey, reason: str) -> None:
        """Print the warning."""
        self._tally.end_row(key)
        self.warn(f"{key} gets no row: {reason}")

    def report_missing_card(self, reason: str) -> None:
        """Print the warning."""
        self._tally.cards -= 1
        self.warn(reason)

    def warn(self, text: str) -> None:
        """Print the warning."""
        self._print_line(f"warning: {text}", style="yellow")

    def _show_left(self) -> None:
        if self._tally.rows > 1:
            self._print_line(f"      {self._tally}")

    def _print_line(self, text: str, style: str | None = None) -> None:
        in_words = self._console.is_terminal  # elsewhere a line stays one
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=not in_words)


class BarProgress(LineProgress):
    """Show a bar with the counts of all cards under the lines."""

    def __init__(self, console: Console, print_row: Callable[[str], None], bar: Progress) -> None:
        super().__init__(console, print_row)
        self._bar = bar
        self._task = bar.add_task("opening the device", total=None, counts="")

    def announce_opening(self, provider: str) -> None:
        """Show what may take long."""
        note = registry.get_facts(provider).opening_note
        self._bar.update(self._task, description=f"opening the kernels: {note}" if note else "opening the device")

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:  # noqa: ARG002 - the bar shows the row
        """Add this row's points to the bar."""
        self._tally.plan(key, points)

    def announce_replica(self, key: RowKey, points: int, card: Card) -> None:  # noqa: ARG002 - the bar shows the row
        """Add these points to the bar."""
        self._tally.plan(key, points)

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Show the current row."""
        self._bar.update(self._task, description=f"{doing} {key}, {tokens} tokens")

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:
        """Move the bar."""
        super().report_point(key, tokens, point)
        self._show_left()

    def _show_left(self) -> None:
        """Move the bar, also over the points that a row did not need."""
        self._bar.update(
            self._task,
            completed=self._tally.points,
            total=self._tally.estimate_points(),
            counts=f"{self._tally.format_place()}{self._tally.format_time()}",
        )


class RowPrinter:
    """Print finished rows to a stream, and on stderr once that fails. failure: the first error of the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OutputError | None = None

    def __call__(self, text: str) -> None:
        """Print a row. A sweep is not ended by a stream that nobody reads."""
        try:
            print(text, file=self._stream if self.failure is None else sys.stderr, flush=True)
        except OutputError as error:
            self.failure = error
            print(text, file=sys.stderr, flush=True)


@contextmanager
def show_progress(*, rows_are_results: bool) -> Iterator[LineProgress]:
    """Yield the display that suits stderr.

    rows_are_results: finished rows go to stdout, as that is now: a Ray cluster turns it away later. Raise OutputError
    at the end where stdout did not take them.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        print_row = RowPrinter(sys.stdout if rows_are_results else sys.stderr)
        yield LineProgress(console, print_row)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH), TextColumn("{task.fields[counts]}"))
        # Results go above the bar where they share its terminal, and past it where they do not.
        with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
            print_row = RowPrinter(sys.stdout if rows_are_results else sys.stderr)
            yield BarProgress(console, print_row, bar)
    if print_row.failure is not None:
        raise print_row.failure
