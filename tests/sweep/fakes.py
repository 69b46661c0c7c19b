"""A worker, a sink and a listener without device, files and terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.engine import Engine, Measurement
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT
from moesort_tune.sweep.records import MeasuredPoint
from moesort_tune.sweep.worker.messages import CheckRequest, DeviceFacts, Measured, MeasureRequest
from moesort_tune.tables.schema import Row
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
    """Measures formulas in tokens; `before` is called with each request and may raise."""

    oneshot_us: Formula
    multiphase_us: Formula
    limit: int = 1024
    noise: float = 0.0
    before: Callable[[CheckRequest | MeasureRequest], None] = lambda _: None
    facts: DeviceFacts = FACTS
    timed: list[tuple[Shape, int]] = field(default_factory=list)
    checked: list[tuple[Shape, int]] = field(default_factory=list)

    def oneshot_max_tokens(self, shape: Shape) -> int:
        """The same for every shape."""
        del shape
        return self.limit

    def check(self, request: CheckRequest) -> None:
        """Notes the request."""
        self.before(request)
        self.checked.append((request.shape, request.tokens))

    def measure(self, request: MeasureRequest) -> Measured:
        """Runs the real engine on the formulas."""
        self.before(request)
        self.timed.append((request.shape, request.tokens))
        formulas: dict[KernelName, Formula] = {ONESHOT: self.oneshot_us, MULTIPHASE: self.multiphase_us}
        times = {kernel: formulas[kernel](request.shape, request.tokens) for kernel in request.kernels}
        timer = SyntheticTimer(times, noise=self.noise, seed=request.settings.seed * 1000 + request.tokens)
        engine = Engine(timer, request.kernels, seed=request.settings.seed, rule=request.rule, clock=lambda: 0.0)
        return Measured(engine.measure(), times)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class ListSink:
    """Keeps what it is given."""

    rows: list[Row] = field(default_factory=list)
    points: dict[tuple[Shape, int], Measurement] = field(default_factory=dict)
    earlier: dict[tuple[Shape, int], MeasuredPoint] = field(default_factory=dict)
    others: dict[tuple[Shape, int], MeasuredPoint] = field(default_factory=dict)
    finished: list[bool] = field(default_factory=list)

    def known(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points put into `earlier`."""
        del oneshot_max_tokens
        return {tokens: point for (of, tokens), point in self.earlier.items() if of == shape}

    def measured(self, shape: Shape, tokens: int, measurement: Measurement) -> None:
        """Keeps a point."""
        self.points[shape, tokens] = measurement

    def kept(self, shape: Shape, oneshot_max_tokens: int) -> dict[int, MeasuredPoint]:
        """Points put into `others`."""
        del oneshot_max_tokens
        return {tokens: point for (of, tokens), point in self.others.items() if of == shape}

    def row(self, row: Row, points: Mapping[int, MeasuredPoint], *, finished: bool) -> Row:
        """Keeps a row, and whether its search ended by itself."""
        del points
        self.rows.append(row)
        self.finished.append(finished)
        return row


@dataclass
class ListListener:
    """Keeps warnings."""

    warnings: list[str] = field(default_factory=list)

    def opened(self, facts: DeviceFacts) -> None:
        """Ignored."""

    def planned(self, shapes: Sequence[Shape]) -> None:
        """Ignored."""

    def row_started(self, shape: Shape, points: int) -> None:
        """Ignored."""

    def at(self, shape: Shape, tokens: int, doing: str) -> None:
        """Ignored."""

    def point_done(self, shape: Shape, tokens: int, point: MeasuredPoint) -> None:
        """Ignored."""

    def row_done(self, row: Row) -> None:
        """Ignored."""

    def warning(self, text: str) -> None:
        """Keeps it."""
        self.warnings.append(text)


class TickingClock:
    """Every look at it takes 0.1 s."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now
