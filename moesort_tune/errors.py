"""The one exception family that the command line turns into a sentence."""

from typing import Final

_LAYOUT: Final = "\n\t"


class MoesortTuneError(Exception):
    """A failure told in one sentence: what happened, the values, the next step.

    As text it can be printed whatever it quotes: file names, a compiler's words, a file's content.
    """

    def __str__(self) -> str:
        return escape_unprintable(super().__str__(), keep=_LAYOUT)


def escape_unprintable(text: str, keep: str = "") -> str:
    """Return `text` with what would act on a terminal or stay invisible as escapes: `\\x1b`, `\\u202e`, `\\udcff`.

    keep: characters that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
