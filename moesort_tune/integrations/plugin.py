"""Plugins of serving frameworks: steer AITER if a table is named, align if that is asked for, and never fail.

Plugins run in every process of a framework, even in those that never sort, so neither torch nor AITER is imported.
"""

import importlib.util
import logging
import os
from typing import Final

from moesort_tune.domain.vocabulary import LOGGER
from moesort_tune.integrations import align_switch

KERNELS_VARIABLE: Final = "MOESORT_TUNE_KERNELS"
"""Whose kernels sort: 'aiter' (the default) or 'builtin'."""

_log = logging.getLogger(LOGGER)


def register(framework: str) -> None:
    """Steer AITER by the table that MOESORT_TUNE_TABLE names, and take alignments if MOESORT_TUNE_ALIGN is 1.

    framework: name of the logger whose handlers to use, and of the package whose alignments are taken.
    """
    register_align(framework)
    register_aiter(framework)


def register_aiter(framework: str) -> None:
    """Steer AITER by the table that MOESORT_TUNE_TABLE names. Where alignments are taken, AITER need not be there."""
    from moesort_tune.audit.tally import SORTING
    from moesort_tune.runtime.search import REQUIRE_VARIABLE, TABLE_VARIABLE

    table = os.environ.get(TABLE_VARIABLE)
    if not table and not os.environ.get(REQUIRE_VARIABLE):
        return
    if align_switch.is_enabled() and not _has_aiter():
        return
    try:
        _share_handlers(framework)
        _log.info("%s", _install(table))
    except Exception as error:  # a plugin that raises would stop the server
        _log.warning("moesort-tune does nothing in this process: %s", error)
        _report_fault(table, f"moesort-tune does nothing here: {error}", SORTING)


def register_align(framework: str) -> None:
    """Have this package's kernels do the framework's alignments if MOESORT_TUNE_ALIGN is 1. Raise nothing."""
    if framework not in align_switch.FRAMEWORKS or not os.environ.get(align_switch.VARIABLE):
        return
    function = align_switch.FRAMEWORKS[framework].function
    try:
        _share_handlers(framework)
        if not align_switch.is_enabled():
            return
        from moesort_tune.integrations import align

        if align.install(framework):
            _log.info(
                "moesort-tune does %s where its kernels support the call; unset %s to stop it",
                *(function, align_switch.VARIABLE),
            )
    except Exception as error:  # a plugin that raises would stop the server
        _log.warning("moesort-tune does nothing in this process for %s: %s", function, error)
        _report_fault(None, f"moesort-tune does nothing here: {error}", function)


def _has_aiter() -> bool:
    """Return whether AITER is installed, without importing it."""
    return importlib.util.find_spec("aiter") is not None


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


def _report_fault(table: str | None, fault: str, function: str) -> None:
    """Have `moesort-tune audit` name this process, which cannot count anything. Raise nothing."""
    from moesort_tune.audit import reporter
    from moesort_tune.audit.record import Process, Record, escape

    def describe(process: Process, written: str) -> Record:
        return Record(
            function=function,
            process=process,
            written=written,
            state=escape(fault),
            is_faulty=True,
            table=escape(table) if table else None,
            kernels=os.environ.get(KERNELS_VARIABLE) or "",
        )

    try:
        reporter.start(describe, function)
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
