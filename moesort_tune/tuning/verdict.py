"""What a measurement of both kernels can come to."""

import enum
from typing import Final

ONESHOT: Final = "oneshot"
MULTIPHASE: Final = "multiphase"


class Verdict(enum.Enum):
    """Which kernel is faster at one token count; TIE where neither won by more than the margin."""

    ONESHOT = "oneshot"
    MULTIPHASE = "multiphase"
    TIE = "tie"
