"""Seeded inputs: routings that are uniform, skewed, or drawn from a trace."""

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.numerals import parse_number, quote
from moesort_tune.sorting.traces import DIGEST_DIGITS, Trace, TraceError

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


class RoutingError(MoesortTuneError):
    """An unknown routing or a bad parameter."""


@dataclass(frozen=True)
class SortingInputs:
    """Inputs of one sort.

    topk_ids: int32 [rows, topk]; topk_weights: float32 [rows, topk]; local_expert_mask: int32 [num_experts] or None;
    num_local_tokens: how many leading rows are real, or None for all.
    """

    topk_ids: Int32Array
    topk_weights: Float32Array
    local_expert_mask: Int32Array | None = None
    num_local_tokens: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        mask = self.local_expert_mask
        return self.topk_ids.nbytes + self.topk_weights.nbytes + (0 if mask is None else mask.nbytes)


@dataclass(frozen=True)
class Routing:
    """Distribution of tokens over experts.

    'uniform'; 'zipf' with the exponent of expert popularity; 'dirichlet', which draws the experts' popularity with a
    concentration (the smaller the more skewed, 1 for any popularity alike); 'trace', rows drawn from one.

    parameter: exponent or concentration. digest: of the trace.
    """

    name: str = "uniform"
    parameter: float = 0.0
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Routing":
        """Return the routing that `str` writes, numbers to the digits that it writes. Raise RoutingError."""
        name, _, value = text.partition(":")
        if text == "uniform":
            return cls()
        if name == "trace" and _DIGEST.fullmatch(value):
            return cls(name, digest=value)
        if name in _PARAMETERS:
            try:
                number = float(f"{parse_number(value):g}")
            except ValueError:
                number = 0.0
            if not _PARAMETERS[name].lies_outside(number):
                return cls(name, number)
        expected = _PARAMETERS[name].expected if name in _PARAMETERS else _EXPECTED
        raise RoutingError(f"routing must be uniform or {expected}, got {quote(text)}")

    def __str__(self) -> str:
        if self.name == "trace":
            return f"{self.name}:{self.digest}"
        return self.name if self.name == "uniform" else f"{self.name}:{self.parameter:g}"


class _Bounds(NamedTuple):
    """Bounds of a parameter, both inside or both outside."""

    low: float
    high: float
    open: bool
    expected: str

    def lies_outside(self, number: float) -> bool:
        """Return whether a number is not allowed."""
        if self.open:
            return not self.low < number < self.high
        return not self.low <= number <= self.high


_PARAMETERS: Final = {
    "zipf": _Bounds(0, 10, open=True, expected="zipf:EXPONENT with an exponent above 0 and below 10"),
    "dirichlet": _Bounds(
        0.01, 100, open=False, expected="dirichlet:CONCENTRATION with a concentration from 0.01 to 100"
    ),
}

_EXPECTED: Final = "zipf:EXPONENT, dirichlet:CONCENTRATION or trace:FILE"

_DIGEST: Final = re.compile(f"[0-9a-f]{{{DIGEST_DIGITS}}}")

_LEAST: Final = np.float32(1e-30)


def make_inputs(
    *, rows: int, topk: int, num_experts: int, seed: int, routing: Routing | None = None, trace: Trace | None = None
) -> SortingInputs:
    """Return inputs, the same for the same arguments on every machine.

    Each row has `topk` distinct experts, or is one of `trace`, which a routing of that name needs. Raise TraceError for
    a trace that is not the routing's or not of this shape.
    """
    routing = routing or Routing()
    random = np.random.default_rng([seed, rows, topk, num_experts])
    if routing.name == "trace":
        ids = _check_trace(trace, routing, Shape(num_experts, topk)).draw(rows, random)
    else:
        ids = _draw_ids(random, routing, rows, topk, num_experts)
    weights = random.random((rows, topk), dtype=np.float32)
    return SortingInputs(np.ascontiguousarray(ids, dtype=np.int32), weights)


def _draw_ids(
    random: np.random.Generator, routing: Routing, rows: int, topk: int, num_experts: int
) -> npt.NDArray[Any]:
    scores = random.random((rows, num_experts), dtype=np.float32)
    popularity = _draw_popularity(random, routing, num_experts)
    if popularity is not None:
        # Gumbel's trick: the topk largest of log p + Gumbel noise are a draw without replacement from p.
        scores = np.log(popularity) - np.log(-np.log(np.maximum(scores, _LEAST)))
    return np.argpartition(-scores, topk - 1, axis=1)[:, :topk] if topk < num_experts else np.argsort(-scores, axis=1)


def _draw_popularity(random: np.random.Generator, routing: Routing, num_experts: int) -> npt.NDArray[Any] | None:
    """Return how popular each expert is, None where all are alike."""
    if routing.name == "zipf":
        ranks: npt.NDArray[Any] = random.permutation(np.arange(1, num_experts + 1)) ** -routing.parameter
        return ranks
    if routing.name == "dirichlet":
        return np.maximum(random.dirichlet(np.full(num_experts, routing.parameter)), _LEAST)
    return None


def _check_trace(trace: Trace | None, routing: Routing, shape: Shape) -> Trace:
    if trace is None or trace.digest != routing.digest:
        got = "none was named" if trace is None else f"the file is trace:{trace.digest} now"
        raise TraceError(f"{routing} needs the file of that trace, and {got}; pass --routing trace:FILE")
    if trace.shape != shape:
        raise TraceError(f"{routing} is of {trace.shape} and says nothing about the routing of {shape}")
    return trace


def make_mask(num_experts: int, *, rank: int, ranks: int) -> Int32Array:
    """Return the mask of expert parallelism, int32 [num_experts]: 1 for the experts of `rank`, an equal share."""
    share = -(-num_experts // ranks)
    experts = np.arange(num_experts)
    return ((experts >= rank * share) & (experts < (rank + 1) * share)).astype(np.int32)
