"""Show progress on stderr: a bar with the current shape and the time left on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from moesort_tune.cli.row_text import format_launch_gaps, format_row
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import LaunchGaps, Row

PARTS = 100
"""Steps of the bar for one row, whatever its number of points."""


class LineProgress:
    """Print one line when a row begins, one when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[RowKey] = []

    def announce_device(self, facts: DeviceFacts, cards: Sequence[Card] = ()) -> None:
        """Print the device, and its cards."""
        text = f"{facts.name}, {facts.arch}, {facts.compute_units} compute units ({facts.runtime} runtime)"
        self._print_line(f"{len(cards)} cards: {text}: {', '.join(cards)}" if cards else f"device: {text}")

    def announce_launch_gaps(self, gaps: LaunchGaps) -> None:
        """Print what each further launch costs."""
        self._print_line(f"each further launch costs {format_launch_gaps(gaps)}")

    def announce_rows(self, keys: Sequence[RowKey], time_budget_s: float | None) -> None:
        """Print how many rows are ahead."""
        self._rows = list(keys)
        shapes, conditions = ({getattr(key, name) for key in keys} for name in ("shape", "condition"))
        what = f"{len(shapes)} shapes" + (f" under {len(conditions)} conditions" if len(conditions) > 1 else "")
        if time_budget_s is None:
            self._print_line(f"checking {what}, then timing them")
        else:
            self._print_line(
                f"checking and timing {what} for {time_budget_s:g} s: a first answer for every row, then more where"
                " most may be lost"
            )

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:
        """Print which row begins."""
        where, number = f", on {card}" if card else "", self._rows.index(key) + 1
        self._print_line(f"[{number}/{len(self._rows)}] experts/topk {key}: about {points} token counts{where}")

    def announce_replica(self, key: RowKey, points: int, card: Card) -> None:
        """Print which row another card measures."""
        self._print_line(f"      experts/topk {key}: {points} token counts again, on {card}")

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Print nothing: that would be too many lines."""

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:
        """Print nothing: that would be too many lines."""

    def report_row(self, key: RowKey, row: Row) -> None:
        """Print the row."""
        self._print_line(f"      {key}: {format_row(row)}")

    def warn(self, text: str) -> None:
        """Print the warning."""
        self._print_line(f"warning: {text}", style="yellow")

    def _print_line(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class BarProgress(LineProgress):
    """Show a bar under the lines: of the time, where it is limited, else of the rows."""

    def __init__(self, console: Console, bar: Progress) -> None:
        super().__init__(console)
        self._bar = bar
        self._task = bar.add_task("opening the device", total=None)
        self._done = 0
        self._step = 0.0
        self._time_budget_s: float | None = None

    def announce_rows(self, keys: Sequence[RowKey], time_budget_s: float | None) -> None:
        """Set the bar's length."""
        super().announce_rows(keys, time_budget_s)
        self._done, self._time_budget_s = 0, time_budget_s
        self._bar.reset(self._task, total=time_budget_s or PARTS * len(keys))

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:  # noqa: ARG002 - the bar shows the row
        """Begin this row's part of the bar."""
        self._step = PARTS / points

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Show the current row."""
        self._bar.update(self._task, description=f"{doing} {key}, {tokens} tokens")

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:  # noqa: ARG002 - only its end counts
        """Move the bar, at most to the end of this row's part."""
        task = self._bar.tasks[0]
        self._move(min(task.completed + self._step, PARTS * (self._done + 0.99)))

    def report_row(self, key: RowKey, row: Row) -> None:  # noqa: ARG002 - the result shows the row
        """Move the bar to the end of this row's part."""
        self._done += 1
        self._move(PARTS * self._done)

    def _move(self, completed: float) -> None:
        """Move the bar, where the time is limited to what of it has passed."""
        if self._time_budget_s is not None:
            completed = min(self._bar.tasks[0].elapsed or 0.0, self._time_budget_s)
        self._bar.update(self._task, completed=completed)


@contextmanager
def show_progress() -> Iterator[LineProgress]:
    """Yield the display that suits stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield BarProgress(console, bar)
