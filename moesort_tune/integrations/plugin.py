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
    from moesort_tune.runtime.search import TABLE_VARIABLE

    table = os.environ.get(TABLE_VARIABLE)
    if not table:
        return
    _share_handlers(framework)
    try:
        _log.info("%s", _install(table))
    except Exception as error:  # a plugin that raises would stop the server
        _log.warning("moesort-tune does nothing in this process: %s", error)
        _report_fault(table, f"moesort-tune does nothing here: {error}")


def _install(table: str) -> str:
    """Install the steering, unless another plugin already has, and return the line to log."""
    from moesort_tune.integrations.aiter import DEFAULT_KERNELS, get_kernels_label, install, is_installed

    kernels = os.environ.get(KERNELS_VARIABLE) or DEFAULT_KERNELS
    if not is_installed(table, kernels):
        install(table, kernels=kernels)
    whose = get_kernels_label(kernels)
    return f"moesort-tune chooses between {whose} sorting kernels, by {table}; unset MOESORT_TUNE_TABLE to stop it"


def _report_fault(table: str, fault: str) -> None:
    """Have `moesort-tune audit` name this process, which cannot count anything. Raise nothing."""
    from moesort_tune.audit import reporter
    from moesort_tune.audit.record import Process, Record

    def describe(process: Process, written: str) -> Record:
        return Record(
            process=process,
            written=written,
            state=fault,
            is_faulty=True,
            table=table,
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
