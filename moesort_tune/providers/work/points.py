"""The sizes and inputs of a point, for every provider that sorts the same problems."""

from collections import OrderedDict
from typing import Final

from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.providers.work.base import Point
from moesort_tune.sorting.inputs import Int32Array, Routing, SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.problem import Problem

ELEMENT_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}

KEPT_BYTES: Final = 512 << 20
"""Host memory for inputs that are kept: enough for a default sweep; those of a million tokens are not kept."""


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


class KeptInputs:
    """The inputs that were used last, as many as `most_bytes` of host memory hold. nbytes: their size."""

    def __init__(self, most_bytes: int) -> None:
        self.nbytes = 0
        self._most_bytes = most_bytes
        self._inputs: OrderedDict[tuple[Point, int], SortingInputs] = OrderedDict()

    def get(self, point: Point, variant: int) -> SortingInputs:
        """Return one of the point's inputs; make it now unless it is kept."""
        kept = self._inputs.get((point, variant))
        if kept is not None:
            self._inputs.move_to_end((point, variant))
            return kept
        made = self._inputs[point, variant] = _make_variant(point, variant)
        self.nbytes += made.nbytes
        while self.nbytes > self._most_bytes:
            _, dropped = self._inputs.popitem(last=False)
            self.nbytes -= dropped.nbytes
        return made


make_variant: Final = KeptInputs(KEPT_BYTES).get
"""Return one of a point's inputs, from the seed of its settings. A point is checked first and timed later."""


def _make_variant(point: Point, variant: int) -> SortingInputs:
    settings = point.settings
    inputs = make_inputs(
        rows=point.tokens,
        topk=point.shape.topk,
        num_experts=point.shape.num_experts,
        seed=settings.seed * 1000 + variant,
        routing=Routing.parse(settings.routing),
    )
    return SortingInputs(inputs.topk_ids, inputs.topk_weights, _make_mask(point.shape, settings))


def _make_mask(shape: Shape, settings: Settings) -> Int32Array | None:
    return make_mask(shape.num_experts, rank=0, ranks=settings.ep) if settings.masked else None
