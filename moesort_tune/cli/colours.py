"""The colours of the kernels, the same on a terminal, in a picture and on a page; also for the colour-blind."""

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Final

from moesort_tune.domain.vocabulary import MULTIPHASE, ONESHOT, WAVE, KernelName

_FAMILIAR: Final = {WAVE.name: "#009e73", ONESHOT.name: "#e69f00", MULTIPHASE.name: "#0072b2"}
_OTHERS: Final = ("#cc79a7", "#56b4e9", "#8c564b", "#bcbd22")

Colours = Mapping[KernelName, str]
"""A colour for each kernel."""

WARNING: Final = "#d62728"
"""Red, which no kernel has: AITER's rule and what it costs, and noise."""


def choose_colours(kernels: Iterable[KernelName]) -> dict[KernelName, str]:
    """Return a colour for each kernel; the familiar ones keep theirs."""
    others = cycle(_OTHERS)
    return {kernel: _FAMILIAR.get(kernel) or next(others) for kernel in kernels}
