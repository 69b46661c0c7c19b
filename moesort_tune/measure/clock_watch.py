"""Notice that the device's clock changed, by the time of work that always does the same arithmetic."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from moesort_tune.measure.statistics import compute_relative_noise


@dataclass
class ClockWatch:
    """Compare each of the sentinel's times with their running median.

    tolerance: a move is more than this share of the median, or, where the sentinel itself is noisy, more than
    `deviations` times its own noise.
    window: times remembered. A clock that settles elsewhere becomes the median after half a window of dropped
    rounds.
    """

    tolerance: float = 0.03
    deviations: float = 4.0
    window: int = 15
    _history: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        """Start without any times."""
        self._history = deque(maxlen=self.window)

    def has_moved(self, sentinel_us: float) -> bool:
        """Return whether this time lies off the running median; it becomes part of it either way."""
        limit = self._compute_limit()
        middle = median(self._history) if self._history else sentinel_us
        self._history.append(sentinel_us)
        return abs(sentinel_us / middle - 1) > limit

    def _compute_limit(self) -> float:
        noise = compute_relative_noise(self._history) if self._history else 0.0
        return max(self.tolerance, self.deviations * noise)
