"""Format how long something takes."""

from typing import Final

MINUTE: Final = 60
HOUR: Final = 3600


def format_seconds(seconds: float) -> str:
    """Return a time as a person estimates it: '45 s', '12 min', '3.5 h'."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
