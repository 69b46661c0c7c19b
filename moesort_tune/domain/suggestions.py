"""Help with names that are not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(text: str, names: Iterable[str]) -> str:
    """Return what to write instead of an unknown name: 'did you mean a or b?', or all names where none is close."""
    names = list(names)
    close = get_close_matches(text, names)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
