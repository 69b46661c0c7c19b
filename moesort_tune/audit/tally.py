"""Count what came of each sorting call, by what was asked. Standard library only: serving processes import this."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from moesort_tune.domain.vocabulary import Condition

SORTING: Final = "moe_sorting"
"""AITER's function, as records and the log name it."""

MAX_KINDS: Final = 512
"""Kinds of calls that are counted by themselves. A model has a few shapes, each of which has one or two outcomes."""

MAX_WORDS: Final = 400
"""Characters of the sentence that is kept with a kind of calls."""


class Asked(NamedTuple):
    """The key by which a call asks a table, besides the number of tokens."""

    num_experts: int
    topk: int
    condition: Condition


class Kind(NamedTuple):
    """Calls of one shape that ended alike. asked: None where the arguments did not say, and for all kinds that there
    is no room for."""

    asked: Asked | None
    reason: str


@dataclass(slots=True)
class Count:
    """Number of calls of a kind. captured: of these, under graph capture. tokens: least and most.

    why: a sentence of the first call.
    """

    why: str
    tokens: tuple[int, int]
    calls: int = 0
    captured: int = 0


def make_token() -> str:
    """Return what tells a process, or one of its tallies, from others with the same number."""
    return secrets.token_hex(4)


@dataclass
class Tally:
    """Counts of one process. Counting is safe in several threads.

    calls: their number. token: tells these counts from those of other processes with the same number.
    """

    calls: int = 0
    token: str = field(default_factory=make_token)
    _counts: dict[Kind, Count] = field(default_factory=dict)
    _lock: "threading.RLock" = field(default_factory=threading.RLock)  # a signal's handler may ask for the counts

    def add(
        self, asked: Asked | None, reason: str, *, tokens: int = 0, captured: bool = False, why: Callable[[], str] = str
    ) -> bool:
        """Count a call, and return whether it is the first of its kind. why: called for the first only."""
        kind = Kind(asked, reason)
        is_new = kind not in self._counts
        if is_new and len(self._counts) >= MAX_KINDS:
            kind, is_new = Kind(None, reason), False
        words = why()[:MAX_WORDS] if is_new else ""
        with self._lock:
            self.calls += 1
            count = self._counts.setdefault(kind, Count(words, (tokens, tokens)))
            count.calls += 1
            count.captured += captured
            count.tokens = (min(count.tokens[0], tokens), max(count.tokens[1], tokens))
        return is_new

    def list_counts(self) -> list[tuple[Kind, Count]]:
        """Return a copy of the counts, in the order of the first calls."""
        with self._lock:
            return [(kind, Count(c.why, c.tokens, c.calls, c.captured)) for kind, c in self._counts.items()]

    def sum_reasons(self) -> dict[str, int]:
        """Return how often each reason was counted, the most frequent first."""
        totals: dict[str, int] = {}
        for kind, count in self.list_counts():
            totals[kind.reason] = totals.get(kind.reason, 0) + count.calls
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def start_anew(self) -> None:
        """Forget everything, in a forked child: its parent reports what it has counted before."""
        self._lock = threading.RLock()
        self._counts = {}
        self.calls, self.token = 0, make_token()
