"""What a serving framework's plugin does: steer AITER if a table is named, say so in one line, and never fail.

Plugins run in every process of a framework, in those too that will never sort: neither torch nor AITER is imported.
"""

import logging
import os
from typing import Any, Final

KERNELS_VARIABLE: Final = "MOESORT_TUNE_KERNELS"
"""Whose kernels sort: 'aiter' (the default) or 'builtin'."""

_log = logging.getLogger("moesort_tune")


def register(framework: str) -> None:
    """Installs the steering of AITER where MOESORT_TUNE_TABLE names a table. framework: the logger to be heard by."""
    from moesort_tune.runtime.search import TABLE_VARIABLE

    table = os.environ.get(TABLE_VARIABLE)
    if not table:
        return
    _be_heard(framework)
    try:
        _log.info("%s", _installed(table))
    except Exception as error:  # a plugin that raises would stop the server
        _log.warning("moesort-tune does nothing in this process: %s", error)


def _installed(table: str) -> str:
    from moesort_tune.integrations.aiter import install

    kernels: Any = os.environ.get(KERNELS_VARIABLE) or "aiter"
    install(table, kernels=kernels)
    whose = "AITER's" if kernels == "aiter" else "moesort-tune's"
    return f"moesort-tune chooses between {whose} two sorting kernels, by {table}; unset MOESORT_TUNE_TABLE to stop it"


def _be_heard(framework: str) -> None:
    """Lets this package's log go where the framework's goes, if nobody has said where it shall go.

    vLLM sets up its own logger alone; what others say below a warning would be lost.
    """
    theirs = logging.getLogger(framework)
    if theirs.handlers and not theirs.propagate and not _log.handlers:
        _log.handlers = list(theirs.handlers)
        _log.setLevel(theirs.getEffectiveLevel())
        _log.propagate = False
