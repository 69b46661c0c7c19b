"""Plugins of serving frameworks: steer AITER if a table is named, log one line, and never fail.

Plugins run in every process of a framework, even in those that never sort, so neither torch nor AITER is imported.
"""

import logging
import os
from typing import Final

from moesort_tune.domain.vocabulary import LOGGER

KERNELS_VARIABLE: Final = "MOESORT_TUNE_KERNELS"
"""Whose kernels sort: 'aiter' (the default) or 'builtin'."""

_log = logging.getLogger(LOGGER)


def register(framework: str) -> None:
    """Steer AITER by the table that MOESORT_TUNE_TABLE names. framework: name of the logger whose handlers to use."""
    from moesort_tune.runtime.search import REQUIRE_VARIABLE, TABLE_VARIABLE

    table = os.environ.get(TABLE_VARIABLE)
    if not table and not os.environ.get(REQUIRE_VARIABLE):
        return
    try:
        _share_handlers(framework)
        _log.info("%s", _install(table))
    except Exception as error:  # a plugin that raises would stop the server
        _log.warning("moesort-tune does nothing in this process: %s", error)
        _report_fault(table, f"moesort-tune does nothing here: {error}")


def _install(table: str | None) -> str:
    """Install the steering, unless somebody already has, and return the line to log. Raise MoesortTuneError."""
    from moesort_tune.integrations import aiter as integration
    from moesort_tune.runtime.search import REQUIRE_VARIABLE, TABLE_VARIABLE, RequiredTableError

    if not table:
        raise RequiredTableError(f"{REQUIRE_VARIABLE} is set, but {TABLE_VARIABLE} names no table; set both")
    before = integration.find_installed()
    if before is not None:
        return f"moesort-tune already chooses between {before}"
    integration.install(table, kernels=os.environ.get(KERNELS_VARIABLE) or integration.DEFAULT_KERNELS)
    return f"moesort-tune chooses between {integration.find_installed()}; unset {TABLE_VARIABLE} to stop it"


def _report_fault(table: str | None, fault: str) -> None:
    """Have `moesort-tune audit` name this process, which cannot count anything. Raise nothing."""
    from moesort_tune.audit import reporter
    from moesort_tune.audit.record import Process, Record, escape

    def describe(process: Process, written: str) -> Record:
        return Record(
            process=process,
            written=written,
            state=escape(fault),
            is_faulty=True,
            table=escape(table) if table else None,
            kernels=os.environ.get(KERNELS_VARIABLE) or "",
        )

    try:
        reporter.start(describe)
    except Exception as error:
        _log.warning("moesort-tune cannot report this process to its audit: %s", error)


def _share_handlers(framework: str) -> None:
    """Give this package's logger the framework's handlers, unless it has some already.

    vLLM configures its own logger alone, so that other packages' messages below a warning would be lost.
    """
    theirs = logging.getLogger(framework)
    if theirs.handlers and not theirs.propagate and not _log.handlers:
        _log.handlers = list(theirs.handlers)
        _log.setLevel(theirs.getEffectiveLevel())
        _log.propagate = False
