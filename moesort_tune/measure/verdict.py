"""The outcome of timing several candidates at one point: a ranking with the ties at its top."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """A ranking. Two verdicts are equal where the same candidates are best.

    best: the fastest candidate and all that tie with it, in the candidates' order; never empty.
    others: those that lost, the fastest first.
    """

    best: tuple[str, ...]
    others: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_tie(self) -> bool:
        """Whether no candidate won."""
        return len(self.best) > 1

    @property
    def winner(self) -> str | None:
        """The candidate that won, None in a tie."""
        return None if self.is_tie else self.best[0]


def make_tie(order: Sequence[str], *verdicts: Verdict) -> Verdict:
    """Return the tie of everything that is best in one of `verdicts`, in the candidates' `order`."""
    best = {name for verdict in verdicts for name in verdict.best}
    return Verdict(tuple(name for name in order if name in best))


def agree(order: Sequence[str], first: Verdict, second: Verdict) -> Verdict:
    """Return the verdict of a point that was measured twice: that of both if they are equal, else their tie."""
    return second if second == first else make_tie(order, first, second)
