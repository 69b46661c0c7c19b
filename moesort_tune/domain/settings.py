"""Everything besides shape and token count that a measurement depends on."""

from dataclasses import dataclass, fields

from moesort_tune.domain.vocabulary import Timing


@dataclass(frozen=True)
class Settings:
    """Settings of a sweep; one table row is measured under one of these.

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

    def __post_init__(self) -> None:
        if self.cold and self.timing != "eager":
            raise ValueError("a cold cache can only be timed launch by launch: use eager timing with it")

    def signature(self) -> str:
        """One word that tells samples of these settings from others: 'unit_size=32;model_dim=4096;...;seed=0'."""
        return f"{self.without_seed()};seed={self.seed}"

    def without_seed(self) -> str:
        """The signature without the seed, which other inputs of the same settings differ in."""
        told = (field.name for field in fields(self) if field.name not in ("timing", "seed"))
        return ";".join(f"{name}={getattr(self, name)}" for name in told)
