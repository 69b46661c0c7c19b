"""Seeded inputs: routings that are uniform, skewed or adversarial."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moesort_tune.errors import MoesortTuneError
from moesort_tune.numerals import parse_number, quote

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
    """Distribution of tokens over experts: 'uniform', or 'zipf' with the exponent of expert popularity."""

    name: str = "uniform"
    exponent: float = field(default=0.0)

    @classmethod
    def parse(cls, text: str) -> "Routing":
        """Return 'uniform' or 'zipf:EXPONENT', the exponent to the digits that `str` writes. Raise RoutingError."""
        if text == "uniform":
            return cls()
        name, _, exponent = text.partition(":")
        try:
            routing = cls("zipf", float(f"{parse_number(exponent):g}"))
        except ValueError:
            routing = cls("zipf")
        if name != "zipf" or not 0 < routing.exponent < 10:
            raise RoutingError(
                f"routing must be uniform or zipf:EXPONENT with an exponent above 0 and below 10, got {quote(text)}"
            )
        return routing

    def __str__(self) -> str:
        return self.name if self.name == "uniform" else f"{self.name}:{self.exponent:g}"


def make_inputs(*, rows: int, topk: int, num_experts: int, seed: int, routing: Routing | None = None) -> SortingInputs:
    """Return inputs with `topk` distinct experts in each row, the same for the same arguments on every machine."""
    random = np.random.default_rng([seed, rows, topk, num_experts])
    scores = random.random((rows, num_experts), dtype=np.float32)
    if routing is not None and routing.name == "zipf":
        # Gumbel's trick: the topk largest of log p + Gumbel noise are a draw without replacement from p.
        popularity = random.permutation(np.arange(1, num_experts + 1)) ** -routing.exponent
        scores = np.log(popularity) - np.log(-np.log(np.maximum(scores, np.float32(1e-30))))
    ids = np.argpartition(-scores, topk - 1, axis=1)[:, :topk] if topk < num_experts else np.argsort(-scores, axis=1)
    weights = random.random((rows, topk), dtype=np.float32)
    return SortingInputs(np.ascontiguousarray(ids, dtype=np.int32), weights)


def make_mask(num_experts: int, *, rank: int, ranks: int) -> Int32Array:
    """Return the mask of expert parallelism, int32 [num_experts]: 1 for the experts of `rank`, an equal share."""
    share = -(-num_experts // ranks)
    experts = np.arange(num_experts)
    return ((experts >= rank * share) & (experts < (rank + 1) * share)).astype(np.int32)
