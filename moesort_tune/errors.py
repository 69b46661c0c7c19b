"""The exception family that the command line prints as one sentence."""

from typing import Final

_LAYOUT: Final = "\n\t"


class MoesortTuneError(Exception):
    """A failure described in one sentence: what happened, the values, the next step.

    Its text is printable whatever it quotes: file names, a compiler's output, a file's content.
    """

    def __str__(self) -> str:
        return escape_unprintable(super().__str__(), keep=_LAYOUT)


def escape_unprintable(text: str, keep: str = "") -> str:
    """Return `text` with characters that act on a terminal or are invisible as escapes: `\\x1b`, `\\u202e`, `\\udcff`.

    keep: characters to leave unchanged.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
