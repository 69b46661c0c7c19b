"""Progress on stderr: a bar with the shape at hand and the time left on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import Row

PARTS = 100
"""Steps of the bar for one row, whatever its number of points."""


class LineProgress:
    """One line when a row begins, one when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows = 0
        self._begun = 0

    def opened(self, facts: DeviceFacts) -> None:
        """Names the device."""
        self._say(f"device: {facts.name}, {facts.arch}, {facts.compute_units} compute units ({facts.runtime} runtime)")

    def planned(self, shapes: Sequence[Shape]) -> None:
        """Tells what lies ahead."""
        self._rows, self._begun = len(shapes), 0
        self._say(f"checking {len(shapes)} shapes, then timing them")

    def row_started(self, shape: Shape, points: int) -> None:
        """Tells which row begins."""
        self._begun += 1
        self._say(f"[{self._begun}/{self._rows}] experts/topk {shape}: about {points} token counts")

    def at(self, shape: Shape, tokens: int, doing: str) -> None:
        """Too much for lines."""

    def point_done(self, shape: Shape, tokens: int, point: MeasuredPoint) -> None:
        """Too much for lines."""

    def row_done(self, row: Row) -> None:
        """Tells the choice."""
        self._say(f"      {told(row)}")

    def warning(self, text: str) -> None:
        """Tells it."""
        self._say(f"warning: {text}", style="yellow")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class BarProgress(LineProgress):
    """A bar under the lines."""

    def __init__(self, console: Console, bar: Progress) -> None:
        super().__init__(console)
        self._bar = bar
        self._task = bar.add_task("opening the device", total=None)
        self._done = 0
        self._step = 0.0

    def planned(self, shapes: Sequence[Shape]) -> None:
        """Sets the bar's length."""
        super().planned(shapes)
        self._done = 0
        self._bar.reset(self._task, total=PARTS * len(shapes))

    def row_started(self, shape: Shape, points: int) -> None:  # noqa: ARG002 - the bar tells the shape
        """The bar itself tells it."""
        self._begun += 1
        self._step = PARTS / points

    def at(self, shape: Shape, tokens: int, doing: str) -> None:
        """Shows the shape at hand."""
        self._bar.update(self._task, description=f"{doing} {shape}, {tokens} tokens")

    def point_done(self, shape: Shape, tokens: int, point: MeasuredPoint) -> None:  # noqa: ARG002 - only its end counts
        """Moves the bar, at most to the end of this row's part."""
        task = self._bar.tasks[0]
        self._bar.update(self._task, completed=min(task.completed + self._step, PARTS * (self._done + 0.99)))

    def row_done(self, row: Row) -> None:  # noqa: ARG002 - the result tells the row
        """Moves the bar to the end of this row's part."""
        self._done += 1
        self._bar.update(self._task, completed=PARTS * self._done)


@contextmanager
def progress() -> Iterator[LineProgress]:
    """What suits stderr."""
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


def told(row: Row) -> str:
    """A row in words: 'oneshot, from 25 tokens multiphase (tie 19-24)'."""
    first, *later = row.policy
    text = ", ".join([first[1], *(f"from {tokens} tokens {kernel}" for tokens, kernel in later)])
    if row.tie:
        text += f" (tie {', '.join(f'{low}-{high}' if low != high else str(low) for low, high in row.tie)})"
    return text
