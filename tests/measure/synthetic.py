"""Timers without a device."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from moesort_tune.domain.vocabulary import KernelName


@dataclass
class SyntheticTimer:
    """Times that follow a formula: `speed(turn)` scales every time of the turn-th round, the sentinel's too.

    noise: relative standard deviation of the kernels' times; the sentinel has none.
    """

    times_us: dict[KernelName, float]
    noise: float = 0.0
    seed: int = 0
    speed: Callable[[int], float] = lambda _: 1.0
    variants_seen: list[tuple[str, int]] = field(default_factory=list)
    _turn: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def sentinel(self) -> float:
        """A new round begins with its sentinel."""
        self._turn += 1
        return 5.0 * self.speed(self._turn)

    def sample(self, kernel: KernelName, variant: int) -> float:
        """The kernel's time under this round's clock."""
        self.variants_seen.append((kernel, variant))
        return self.times_us[kernel] * self.speed(self._turn) * (1 + self._random.gauss(0, self.noise))
