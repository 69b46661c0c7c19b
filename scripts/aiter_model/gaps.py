"""The launch gap that each published way of timing implies, and the range of them all."""

from collections.abc import Sequence
from typing import NamedTuple

from aiter_model.fit import Model, fit, fit_mode
from aiter_model.points import REPLAY, Cycles, Point


class GapRange(NamedTuple):
    """Least and largest gap, in microseconds."""

    low_us: float
    high_us: float


def fit_modes(points: Sequence[Point], cycles: Cycles) -> dict[str, Model]:
    """Return the model of each mode: one fit to the replayed graphs, whose clock the other modes share."""
    replayed = fit([point for point in points if point.mode == REPLAY], cycles)
    others = dict.fromkeys(point.mode for point in points if point.mode != REPLAY)
    return {REPLAY: replayed} | {
        mode: fit_mode([point for point in points if point.mode == mode], cycles, replayed.us_per_cycle)
        for mode in others
    }


def find_range(points: Sequence[Point]) -> GapRange:
    """Return the range of the modes' gaps, with and without hits in L1; a gap below 0 counts as none."""
    gaps = [model.gap_us for hits in (True, False) for model in fit_modes(points, Cycles(hits=hits)).values()]
    return GapRange(max(0.0, min(gaps)), max(gaps))
