"""The fit of t = cycles / clock + constant (+ gap for multiphase), and its errors."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiter_model.points import Cycles, Point

Floats = NDArray[np.float64]


class Model(NamedTuple):
    """Fitted numbers. us_per_cycle: of the busiest workgroup; constant_us: of a launch; gap_us: to a further launch."""

    us_per_cycle: float
    constant_us: float
    gap_us: float

    @property
    def clock_ghz(self) -> float:
        """The clock at which the emulated cycles would pass."""
        return 1e-3 / self.us_per_cycle

    def estimate_us(self, cycles: float, kernel: str) -> float:
        """Return the modelled time of one sort."""
        return self.us_per_cycle * cycles + self.constant_us + self.gap_us * (kernel == "multiphase")


class Errors(NamedTuple):
    """Differences between a model and published times, in microseconds, and those times."""

    differences: Floats
    published: Floats

    @property
    def rms_us(self) -> float:
        """Root of the mean square."""
        return float(np.sqrt(np.mean(self.differences**2)))

    @property
    def mean_ratio(self) -> float:
        """Mean of the absolute differences over the published times."""
        return float(np.mean(np.abs(self.differences) / self.published))


def fit(points: Sequence[Point], cycles: Cycles) -> Model:
    """Return the least-squares fit of clock, constant and gap to published times."""
    factors, published = _build_equations(points, cycles)
    return Model(*np.linalg.lstsq(factors, published, rcond=None)[0].tolist())


def _build_equations(points: Sequence[Point], cycles: Cycles) -> tuple[Floats, Floats]:
    factors = [[cycles.count(p.kernel, p.shape, p.tokens), 1, p.kernel == "multiphase"] for p in points]
    return np.array(factors, float), np.array([point.us for point in points])


def compute_errors(model: Model, points: Sequence[Point], cycles: Cycles) -> Errors:
    """Return what a model gets wrong at some points."""
    factors, published = _build_equations(points, cycles)
    return Errors(factors @ np.array(model) - published, published)


def leave_out(
    points: Sequence[Point], cycles: Cycles, group: Callable[[Point], object]
) -> Iterator[tuple[object, Errors]]:
    """Yield each group of points with the errors at them of a fit to all others."""
    for name in dict.fromkeys(map(group, points)):
        rest = [point for point in points if group(point) != name]
        left_out = [point for point in points if group(point) == name]
        yield name, compute_errors(fit(rest, cycles), left_out, cycles)


def join(errors: Sequence[Errors]) -> Errors:
    """Return all errors as one."""
    return Errors(*(np.concatenate(part) for part in zip(*errors, strict=True)))


def fit_mode(points: Sequence[Point], cycles: Cycles, us_per_cycle: float) -> Model:
    """Return constant and gap of points of one mode, whose clock is that of another fit."""
    rest = {
        kernel: float(np.mean([p.us - us_per_cycle * cycles.count(p.kernel, p.shape, p.tokens) for p in of_kernel]))
        for kernel in ("oneshot", "multiphase")
        if (of_kernel := [point for point in points if point.kernel == kernel])
    }
    return Model(us_per_cycle, rest["oneshot"], rest["multiphase"] - rest["oneshot"])
