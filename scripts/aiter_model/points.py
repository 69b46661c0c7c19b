"""The data: emulated cycles of AITER's kernels, and the times that others published."""

import csv
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

_FOLDER: Final = Path(__file__).parent
_TOKENS_OF_A_STEP: Final = 8
"""AITER's oneshot counts in steps of so many tokens: 20 and 24 tokens take the same cycles, 24 and 32 do not."""

REPLAY: Final = "replay"
"""Timing mode of the 27 points that the model is fitted to: a captured graph of one sort, replayed 200 times."""

SGLANG: Final = "sglang"
"""Timing mode of the figures in SGLang's comment, which are ends of ranges."""


class Shape(NamedTuple):
    """A number of experts and of experts per token."""

    num_experts: int
    topk: int

    def __str__(self) -> str:
        return f"{self.num_experts}/{self.topk}"


UNNAMED: Final = "not named"
"""The GPU of times whose source does not say it."""


class Point(NamedTuple):
    """A published time. mode: points of one mode were timed alike. gpu: as its source names it, or UNNAMED.

    source: who published it, and when.
    """

    mode: str
    gpu: str
    shape: Shape
    tokens: int
    kernel: str
    us: float
    source: str


class Ladder(NamedTuple):
    """Cycles of one kernel for one shape at ascending token counts."""

    tokens: tuple[int, ...]
    cycles: tuple[float, ...]

    def interpolate(self, tokens: int) -> float:
        """Return the cycles at `tokens`: between emulated counts those at the next step, flat beyond the ends."""
        steps = tokens if tokens <= _TOKENS_OF_A_STEP else -(-tokens // _TOKENS_OF_A_STEP) * _TOKENS_OF_A_STEP
        return float(np.interp(tokens if tokens in self.tokens else steps, self.tokens, self.cycles))


class Cycles:
    """Cycles of both kernels. hits: loads of lines that the workgroup has loaded before count as hits in L1."""

    def __init__(self, *, hits: bool = True) -> None:
        self._column = "est_cycles_l1" if hits else "est_cycles_no_l1"

    @cached_property
    def ladders(self) -> Mapping[tuple[str, Shape], Ladder]:
        """The ladder of each kernel and shape."""
        found: dict[tuple[str, Shape], dict[int, float]] = {}
        for row in _read("cycles.csv"):
            key = (row["kernel"], Shape(int(row["num_experts"]), int(row["topk"])))
            found.setdefault(key, {})[int(row["tokens"])] = float(row[self._column])
        return {key: Ladder(*zip(*sorted(ladder.items()), strict=True)) for key, ladder in found.items()}

    @property
    def shapes(self) -> list[Shape]:
        """Every emulated shape, ascending."""
        return sorted({shape for _, shape in self.ladders})

    def get_ladder(self, kernel: str, shape: Shape) -> Ladder:
        """Return the ladder of a kernel."""
        return self.ladders[kernel, shape]

    def count(self, kernel: str, shape: Shape, tokens: int) -> float:
        """Return the cycles of one sort."""
        return self.get_ladder(kernel, shape).interpolate(tokens)


def read_points() -> list[Point]:
    """Return the published times, in the order of the file."""
    return [
        Point(
            row["mode"],
            row["gpu"],
            Shape(int(row["num_experts"]), int(row["topk"])),
            int(row["tokens"]),
            row["kernel"],
            float(row["us"]),
            row["source"],
        )
        for row in _read("published.csv")
    ]


def _read(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
