"""Settings of a measurement: every parameter of its times besides shape and token count."""

from dataclasses import dataclass, fields
from typing import Final

from moesort_tune.domain.vocabulary import Timing

_OWN_COLUMNS: Final = ("timing", "moe_buf", "seed")
"""Settings that have a column of their own, or that the signature appends."""


@dataclass(frozen=True)
class Settings:
    """Settings of a sweep; one table row is measured under one of these.

    moe_buf: the kernels zero a moe_buf of model_dim columns of dtype.
    ep: the experts are spread over this many ranks, one of which is measured (1: no mask).
    routing: 'uniform' or 'zipf:EXPONENT'.
    cold: the last-level cache is flushed before each launch (eager timing only).
    """

    timing: Timing = "graph"
    unit_size: int = 32
    model_dim: int = 4096
    dtype: str = "bfloat16"
    ep: int = 1
    routing: str = "uniform"
    cold: bool = False
    seed: int = 0
    moe_buf: bool = True

    def __post_init__(self) -> None:
        if self.cold and self.timing != "eager":
            raise ValueError("a cold cache can only be timed launch by launch: use eager timing with it")

    @property
    def masked(self) -> bool:
        """Whether the kernels receive a local_expert_mask."""
        return self.ep > 1

    def format_signature(self) -> str:
        """Return the text that identifies these settings in samples: 'unit_size=32;model_dim=4096;...;seed=0'."""
        return f"{self.format_without_seed()};seed={self.seed}"

    def format_without_seed(self) -> str:
        """Return the signature without the seed, which distinguishes inputs of the same settings."""
        names = (field.name for field in fields(self) if field.name not in _OWN_COLUMNS)
        return ";".join(f"{name}={getattr(self, name)}" for name in names)
