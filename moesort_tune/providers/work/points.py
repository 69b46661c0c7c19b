"""The sizes, inputs and expected outputs of a point, for every provider that sorts the same problems."""

import functools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from moesort_tune.domain.shape import Shape
from moesort_tune.providers.work.base import Point
from moesort_tune.sorting.check import WrongOutputError, check_outputs
from moesort_tune.sorting.inputs import Routing, SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting
from moesort_tune.sorting.traces import read_trace

if TYPE_CHECKING:
    from moesort_tune.device import hip
    from moesort_tune.measure.timers import Work

ELEMENT_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}

KEPT_BYTES: Final = 512 << 20
"""Host memory for inputs that are kept: enough for a default sweep; those of a million tokens are not kept."""

MOST_SHARED_TOKENS: Final = 1 << 15
"""Tokens past which no more rows are drawn than a point has."""


def build_problem(point: Point) -> Problem:
    """Return the sizes of the point under its settings."""
    settings = point.settings
    row_bytes = settings.model_dim * ELEMENT_BYTES[settings.dtype] if settings.moe_buf else 0
    return Problem(
        rows=point.tokens,
        topk=point.shape.topk,
        num_experts=point.shape.num_experts,
        unit_size=settings.unit_size,
        moe_buf_bytes=point.tokens * row_bytes,
    )


class Drawing(NamedTuple):
    """The source of inputs: those of a point are the first rows of one of these."""

    shape: Shape
    rows: int
    seed: int
    routing: str
    trace: Path | None = None


class KeptInputs:
    """The inputs that were used last, as many as `most_bytes` of host memory hold. nbytes: their size.

    Points of one shape and seed between two powers of two share what was drawn, and so do the settings that do not
    concern the routing: drawing costs more than a check or a measurement.
    """

    def __init__(self, most_bytes: int) -> None:
        self.nbytes = 0
        self._most_bytes = most_bytes
        self._inputs: OrderedDict[Drawing, SortingInputs] = OrderedDict()

    def get(self, point: Point, variant: int) -> SortingInputs:
        """Return one of the point's inputs; draw it now unless it is kept."""
        settings = point.settings
        rows = 1 << (point.tokens - 1).bit_length() if point.tokens <= MOST_SHARED_TOKENS else point.tokens
        seed = settings.seed * 1000 + variant
        drawn = self._draw_once(Drawing(point.shape, rows, seed, settings.routing, settings.trace))
        mask = make_mask(point.shape.num_experts, rank=0, ranks=settings.ep) if settings.masked else None
        return SortingInputs(drawn.topk_ids[: point.tokens], drawn.topk_weights[: point.tokens], mask)

    def _draw_once(self, drawing: Drawing) -> SortingInputs:
        kept = self._inputs.get(drawing)
        if kept is not None:
            self._inputs.move_to_end(drawing)
            return kept
        drawn = self._inputs[drawing] = _draw(drawing)
        self.nbytes += drawn.nbytes
        while self.nbytes > self._most_bytes:
            _, dropped = self._inputs.popitem(last=False)
            self.nbytes -= dropped.nbytes
        return drawn


class ExpectedOutputs:
    """The outputs that every kernel must have for the inputs of a point. The reference sorts each input once."""

    def __init__(self, point: Point, inputs: Sequence[SortingInputs]) -> None:
        """Sort nothing yet. inputs: that of each variant."""
        self._point = point
        self._inputs = inputs
        self._expected: dict[int, SortedOutputs] = {}

    def check(self, actual: SortedOutputs, variant: int, *, kernel: str, moe_buf_is_zero: bool) -> None:
        """Raise WrongOutputError for the first output of `kernel` that is not exact. kernel: its name in messages."""
        check_outputs(actual, self._sort(variant), kernel=kernel, shape=str(self._point))
        if not moe_buf_is_zero:
            raise WrongOutputError(f"{kernel} is wrong for {self._point}: moe_buf is not all zero")

    def _sort(self, variant: int) -> SortedOutputs:
        if variant not in self._expected:
            self._expected[variant] = moe_sorting(
                self._inputs[variant],
                num_experts=self._point.shape.num_experts,
                unit_size=self._point.settings.unit_size,
            )
        return self._expected[variant]


make_variant: Final = KeptInputs(KEPT_BYTES).get
"""Return one of a point's inputs, from the seed of its settings. A point is checked first and timed later."""


def launch_each(launches: Sequence["hip.PreparedLaunch"]) -> "Work":
    """Return a function that enqueues prepared launches, one after another."""

    def launch_all(stream: "hip.Stream") -> None:
        for launch in launches:
            launch.launch(stream)

    return launch_all


def _draw(drawing: Drawing) -> SortingInputs:
    return make_inputs(
        rows=drawing.rows,
        topk=drawing.shape.topk,
        num_experts=drawing.shape.num_experts,
        seed=drawing.seed,
        routing=Routing.parse(drawing.routing),
        trace=None if drawing.trace is None else _read_trace_once(drawing.trace),
    )


_read_trace_once: Final = functools.lru_cache(maxsize=1)(read_trace)
