"""A worker, a sink and a listener without device, files and terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_TOKENS, MULTIPHASE, ONESHOT, KernelName
from moesort_tune.measure.engine import Engine, Measurement
from moesort_tune.sweep.cards import Card
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.row_key import RowKey
from moesort_tune.sweep.worker.messages import CheckRequest, DeviceFacts, Measured, MeasureRequest
from moesort_tune.tables.schema import LaunchGaps, Row
from tests.measure.synthetic import SyntheticTimer

FACTS = DeviceFacts(
    name="fake",
    arch="host",
    compute_units=2,
    wavefront_size=64,
    lds_bytes=65536,
    runtime="host",
    hip="7.2.0",
    driver="7.2.0",
    compiler="none",
    provider="builtin",
    revision="5c1e",
)

Formula = Callable[[Shape, int], float]


@dataclass
class FakeWorker:
    """Measures formulas in tokens; `before` is called with each request and may raise.

    formulas: by candidate, in order. last_legal: the largest token count of those that have a limit.
    """

    formulas: dict[KernelName, Formula]
    last_legal: dict[KernelName, int] = field(default_factory=lambda: {ONESHOT.name: 1024})
    noise: float = 0.0
    before: Callable[[CheckRequest | MeasureRequest], None] = lambda _: None
    facts: DeviceFacts = FACTS
    timed: list[tuple[Shape, int]] = field(default_factory=list)
    checked: list[tuple[Shape, int]] = field(default_factory=list)

    def limits(self, shape: Shape) -> Limits:
        """Return the same for every shape."""
        del shape
        return {kernel: self.last_legal.get(kernel, MAX_TOKENS) for kernel in self.formulas}

    def check(self, request: CheckRequest) -> None:
        """Note the request."""
        self.before(request)
        self.checked.append((request.shape, request.tokens))

    def measure(self, request: MeasureRequest) -> Measured:
        """Run the real engine on the formulas."""
        self.before(request)
        self.timed.append((request.shape, request.tokens))
        times = {kernel: self.formulas[kernel](request.shape, request.tokens) for kernel in request.kernels}
        timer = SyntheticTimer(times, noise=self.noise, seed=request.settings.seed * 1000 + request.tokens)
        engine = Engine(timer, request.kernels, seed=request.settings.seed, rule=request.rule, clock=lambda: 0.0)
        return Measured(engine.measure(), times)

    def measure_launch_gaps(self) -> LaunchGaps:
        """Return those of an idle device."""
        return LaunchGaps(graph=1.0, replay=1.5, eager=4.0)

    def close(self) -> None:
        """Do nothing: nothing is held."""


def time_two_kernels(oneshot_us: Formula, multiphase_us: Formula, **options: Any) -> FakeWorker:
    """Return a worker of oneshot, which takes 1024 tokens, and multiphase."""
    return FakeWorker({ONESHOT.name: oneshot_us, MULTIPHASE.name: multiphase_us}, **options)


@dataclass
class ListSink:
    """Keep samples and rows in lists."""

    rows: list[Row] = field(default_factory=list)
    points: dict[tuple[Shape, int], Measurement] = field(default_factory=dict)
    earlier: dict[tuple[Shape, int], MeasuredPoint] = field(default_factory=dict)
    others: dict[tuple[Shape, int], MeasuredPoint] = field(default_factory=dict)
    finished: list[bool] = field(default_factory=list)
    measured: list[tuple[Shape, int, DeviceFacts]] = field(default_factory=list)

    def find_known(self, shape: Shape, limits: Limits) -> dict[int, dict[Card, MeasuredPoint]]:
        """Return points put into `earlier`."""
        del limits
        return {tokens: {"": point} for (of, tokens), point in self.earlier.items() if of == shape}

    def keep_point(self, shape: Shape, tokens: int, measurement: Measurement, facts: DeviceFacts) -> None:
        """Keep a point."""
        self.measured.append((shape, tokens, facts))
        self.points[shape, tokens] = measurement

    def find_kept(self, shape: Shape, limits: Limits) -> dict[int, dict[Card, MeasuredPoint]]:
        """Return points put into `others`."""
        del limits
        return {tokens: {"": point} for (of, tokens), point in self.others.items() if of == shape}

    def keep_row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Keep a row, and whether its search ended by itself."""
        del points
        self.rows.append(row)
        self.finished.append(finished)
        return row


@dataclass
class ListListener:
    """Keep warnings."""

    warnings: list[str] = field(default_factory=list)
    reported: list[tuple[RowKey, int]] = field(default_factory=list)

    def announce_opening(self, provider: str) -> None:
        """Ignore it."""

    def announce_device(self, facts: DeviceFacts, cards: Sequence[Card] = ()) -> None:
        """Ignore it."""

    def announce_launch_gaps(self, gaps: LaunchGaps) -> None:
        """Ignore it."""

    def announce_rows(self, keys: Sequence[RowKey], cards: int = 1, time_budget_s: float | None = None) -> None:
        """Ignore it."""

    def announce_row(self, key: RowKey, points: int, card: Card = "") -> None:
        """Ignore it."""

    def announce_replica(self, key: RowKey, points: int, card: Card) -> None:
        """Ignore it."""

    def announce_point(self, key: RowKey, tokens: int, doing: str) -> None:
        """Ignore it."""

    def report_point(self, key: RowKey, tokens: int, point: MeasuredPoint) -> None:  # noqa: ARG002 - its place only
        """Keep its place."""
        self.reported.append((key, tokens))

    def report_row(self, key: RowKey, row: Row) -> None:
        """Ignore it."""

    def report_missing_row(self, key: RowKey, reason: str) -> None:
        """Keep it."""
        self.warnings.append(f"{key} gets no row: {reason}")

    def report_missing_card(self, reason: str) -> None:
        """Keep it."""
        self.warnings.append(reason)

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


class TickingClock:
    """Every look at it takes 0.1 s."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now
