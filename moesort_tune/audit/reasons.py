"""Reasons under which sorting calls are counted, and their meaning for a table."""

import enum
from typing import Final

from moesort_tune.runtime.lookup import Reason

LEFT_ALONE: Final = "left alone: "
"""Begins the counted reasons of calls that the framework did as if this package were not installed."""

NOT_SORTED: Final = LEFT_ALONE + "flat"
"""A layer whose kernels sort by themselves: there is nothing to decide."""

POLICY: Final = " policy"
"""Ends the reasons of calls whose caller named a kernel; after LEFT_ALONE, or by itself where this package's kernels
sorted as it said."""

OWN_POLICY: Final = "the caller's own policy"

REPLACED: Final = "replaced by the framework"
"""The call was steered, and then done by a sort that a framework had put in the place of AITER's."""

FRAMEWORK_SORT: Final = "AITER's sort is replaced by the framework's"

REPLACED_BEFORE: Final = LEFT_ALONE + FRAMEWORK_SORT
"""A call that this package's kernels left alone, because a framework had put a sort of its own into AITER."""

INCONCLUSIVE: Final = "inconclusive: "
"""Begins the counted reasons of calls that were steered and of which no kernel of the table was seen to run."""

FAILED: Final = INCONCLUSIVE + "the call ended with an error"

OTHER_KERNEL: Final = INCONCLUSIVE + "another kernel ran"

UNSEEN_POLICY: Final = INCONCLUSIVE + "the policy was not seen"

NO_KERNEL: Final = INCONCLUSIVE + "no kernel of AITER's sort was called"

TAKEN: Final = "taken"
"""Begins the counted reasons of calls of moe_align_block_size that this package's kernels did. The rest is why the
table took the kernel."""

LEFT: Final = "left to the framework"
"""Begins the counted reasons of calls of moe_align_block_size that the framework's own function did."""

LEFT_UNEXPECTED: Final = f"{LEFT}: unexpected error"
"""The counted reason of such calls in which this package failed."""

UNEXPECTED: Final = LEFT_ALONE + "unexpected error"
"""The counted reason of calls in which this package failed."""

FAILURES: Final = frozenset((UNEXPECTED, LEFT_UNEXPECTED))
"""The reasons of calls in which this package failed."""


class Use(enum.Enum):
    """The meaning of a reason for a table. The text is the one that `audit` prints."""

    EXACT = "exact row"
    GUESS = "a guess"
    WRONG_KEY = "wrong key"
    NEVER_READ = "never read"
    REPLACED = "replaced"
    INCONCLUSIVE = "inconclusive"
    NOTHING_TO_DECIDE = "nothing to decide"
    TAKEN = TAKEN
    LEFT = LEFT

    def __str__(self) -> str:
        return self.value


DECIDED: Final = frozenset((Use.EXACT, Use.GUESS, Use.TAKEN))
"""Uses in which a row of the table decided which of AITER's kernels ran, or this package's kernels did an alignment."""

_OF_REASONS: Final = {
    Reason.EXACT: Use.EXACT,
    Reason.NEIGHBOURS: Use.GUESS,
    Reason.DISAGREE: Use.GUESS,
    Reason.NEAREST_EXPERTS: Use.GUESS,
    Reason.NEAREST_TOPK: Use.GUESS,
    Reason.BEYOND: Use.WRONG_KEY,  # a row exists, and the provider's rule decided
    Reason.CLIPPED: Use.GUESS,
    Reason.CLIPPED_OTHER: Use.GUESS,
    Reason.RULE: Use.WRONG_KEY,
    Reason.OWN_RULE: Use.WRONG_KEY,
    Reason.PROVIDER: Use.WRONG_KEY,
    Reason.NO_TOKENS: Use.NOTHING_TO_DECIDE,
}


_OF_WORDS: Final = {
    NOT_SORTED: Use.NOTHING_TO_DECIDE,
    REPLACED: Use.REPLACED,
    REPLACED_BEFORE: Use.REPLACED,
}


def format_taken(reason: Reason) -> str:
    """Return the counted reason of a call that was taken, and whose kernel the table took for this reason."""
    return f"{TAKEN}: {reason}"


GUESSED: Final = frozenset(
    text for reason, use in _OF_REASONS.items() if use is Use.GUESS for text in (reason.value, format_taken(reason))
)
"""The reasons of calls that rows of other shapes decided."""

RULED: Final = frozenset(format_taken(reason) for reason, use in _OF_REASONS.items() if use is Use.WRONG_KEY)
"""The reasons of calls that were taken, and whose kernel a rule took: no row was usable for it."""


def classify(reason: str) -> Use:
    """Return what a counted reason means; INCONCLUSIVE for one that this version does not know."""
    if reason in _OF_WORDS:
        return _OF_WORDS[reason]
    if reason.startswith(TAKEN):
        return Use.NOTHING_TO_DECIDE if reason == format_taken(Reason.NO_TOKENS) else Use.TAKEN
    if reason.startswith(LEFT):
        return Use.LEFT
    if reason.startswith(LEFT_ALONE) or reason.endswith(POLICY):
        return Use.NEVER_READ
    try:
        return _OF_REASONS[Reason(reason)]
    except ValueError:
        return Use.INCONCLUSIVE
