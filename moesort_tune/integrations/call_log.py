"""Count what came of the calls of a function, and log what a person has to know of them. Nothing here raises."""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from moesort_tune.audit import reporter
from moesort_tune.audit.reasons import DECIDED, FAILURES, Use, classify
from moesort_tune.audit.tally import Asked, Tally
from moesort_tune.domain.vocabulary import LOGGER

_log = logging.getLogger(LOGGER)

LOGGED_AT: Final = frozenset(10**power for power in range(9))
"""Numbers of calls after which counts of the reasons are logged."""

_NOT_WARNED_OF: Final = frozenset((*DECIDED, Use.NOTHING_TO_DECIDE, Use.WRONG_KEY))
"""Uses of which no warning is logged here: of a wrong key the dispatcher has warned."""

FormatWarning = Callable[[Asked | None, str, str], str]
"""Returns the warning of a shape, the reason under which its call is counted, and a sentence about that."""


class Counted(NamedTuple):
    """A call as it is counted. why: returns a sentence about it."""

    reason: str
    why: Callable[[], str]
    asked: Asked | None
    tokens: int
    captured: bool


class CallLog:
    """Counts and warnings of the calls of one function. function: its name in records and in the log."""

    def __init__(self, tally: Tally, function: str, format_warning: FormatWarning) -> None:
        self._tally = tally
        self._function = function
        self._format_warning = format_warning
        self._warned: set[str] = set()

    def add(self, describe: Callable[[], Counted]) -> None:
        """Count a call, log the first of each reason that says something, and the counts now and then."""
        try:
            reason, why, asked, tokens, captured = describe()
            is_new = self._tally.add(asked, reason, tokens=tokens, captured=captured, why=why)
            if is_new:
                self._warn_once(reason, asked, why)
            reporter.touch(self._function)
            if self._tally.calls in LOGGED_AT:
                _log.info("%s", self._format_counts())
        except Exception as error:
            self.report("a call was not counted", error)

    def report(self, consequence: str, error: Exception) -> None:
        """Log the first unexpected error that has this consequence."""
        if consequence not in self._warned:
            self._warned.add(consequence)
            _log.warning(
                "%s because moesort-tune failed with %s: %s; please report it (later ones are not logged)",
                *(consequence, type(error).__name__, error),
                exc_info=error,
            )

    def start_anew(self) -> None:
        """Warn again, in a forked child."""
        self._warned.clear()

    def _warn_once(self, reason: str, asked: Asked | None, why: Callable[[], str]) -> None:
        """Warn of the first call for each reason that is not a decision; of failures `report` has warned."""
        if reason in self._warned or reason in FAILURES or classify(reason) in _NOT_WARNED_OF:
            return
        self._warned.add(reason)
        _log.warning("%s", self._format_warning(asked, reason, why()))

    def _format_counts(self) -> str:
        from moesort_tune.audit.log_lines import format_counts

        return format_counts(self._tally, self._function)
