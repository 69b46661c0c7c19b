"""Settings of a measurement: every parameter of its times besides shape and token count."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, NamedTuple

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import (
    DEFAULT_MODEL_DIM,
    DEFAULT_TIMING,
    DEFAULT_UNIT_SIZE,
    Condition,
    Timing,
)

_OWN_COLUMNS: Final = ("timing", "moe_buf", "seed", "trace")
"""Settings that have a column of their own, that the signature appends, or that another one identifies."""


class NamedRouting(NamedTuple):
    """A routing as settings hold it. trace: the file of 'trace:DIGEST', shape: the one that it is of."""

    routing: str = "uniform"
    trace: Path | None = None
    shape: Shape | None = None


_OF_MOE_BUF: Final = ("model_dim", "dtype")
"""Settings that mean nothing where there is no moe_buf."""


@dataclass(frozen=True)
class Settings:
    """Settings of a sweep; one table row is measured under one of these.

    moe_buf: the kernels zero a moe_buf of model_dim columns of dtype.
    ep: the experts are spread over this many ranks, one of which is measured (1: no mask).
    routing: 'uniform', 'zipf:EXPONENT', 'dirichlet:CONCENTRATION' or 'trace:DIGEST'; trace: the file of the latter.
    cold: the last-level cache is flushed before each launch (eager timing only).
    """

    timing: Timing = DEFAULT_TIMING
    unit_size: int = DEFAULT_UNIT_SIZE
    model_dim: int = DEFAULT_MODEL_DIM
    dtype: str = "bfloat16"
    ep: int = 1
    routing: str = "uniform"
    cold: bool = False
    seed: int = 0
    moe_buf: bool = True
    trace: Path | None = None

    def __post_init__(self) -> None:
        if self.cold and self.timing != "eager":
            raise ValueError("a cold cache can only be timed launch by launch: use eager timing with it")

    @property
    def masked(self) -> bool:
        """Whether the kernels receive a local_expert_mask."""
        return self.ep > 1

    @property
    def condition(self) -> Condition:
        """The work of the timed calls besides sorting."""
        return Condition(self.moe_buf, self.masked)

    def format_signature(self) -> str:
        """Return the text that identifies these settings in samples: 'unit_size=32;model_dim=4096;...;seed=0'."""
        return f"{self.format_without_seed()};seed={self.seed}"

    def format_without_seed(self) -> str:
        """Return the signature without the seed, which distinguishes inputs of the same settings."""
        left_out = _OWN_COLUMNS if self.moe_buf else (*_OWN_COLUMNS, *_OF_MOE_BUF)
        names = (field.name for field in fields(self) if field.name not in left_out)
        return ";".join(f"{name}={getattr(self, name)}" for name in names)
