"""Timers without a device."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class SyntheticTimer:
    """Times that follow a formula: `speed(turn)` scales every time of the turn-th round, the sentinel's too.

    noise: relative standard deviation of the candidates' times; the sentinel has none. watched: whether there is one.
    """

    times_us: dict[str, float]
    noise: float = 0.0
    seed: int = 0
    speed: Callable[[int], float] = lambda _: 1.0
    watched: bool = True
    variants_seen: list[tuple[str, int]] = field(default_factory=list)
    _turn: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def sample_sentinel(self) -> float | None:
        """Begin a new round, with the sentinel's time."""
        self._turn += 1
        return 5.0 * self.speed(self._turn) if self.watched else None

    def sample(self, name: str, variant: int) -> float:
        """Return the candidate's time under this round's clock."""
        self.variants_seen.append((name, variant))
        return self.times_us[name] * self.speed(self._turn) * (1 + self._random.gauss(0, self.noise))
