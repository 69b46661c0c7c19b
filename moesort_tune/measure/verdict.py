"""What a measurement of both kernels can come to."""

import enum
from typing import Final

from moesort_tune.domain.vocabulary import KernelName

ONESHOT: Final = "oneshot"
MULTIPHASE: Final = "multiphase"


class Verdict(enum.Enum):
    """Which kernel is faster at one token count; TIE where neither won by more than the margin."""

    ONESHOT = "oneshot"
    MULTIPHASE = "multiphase"
    TIE = "tie"


def agreed(first: Verdict, second: Verdict) -> Verdict:
    """Return the verdict of a point that was measured twice: what both times found, else a tie."""
    return first if second is first else Verdict.TIE


KERNEL_OF: Final[dict[Verdict, KernelName]] = {Verdict.ONESHOT: ONESHOT, Verdict.MULTIPHASE: MULTIPHASE}
"""The kernel that a verdict other than TIE names."""
