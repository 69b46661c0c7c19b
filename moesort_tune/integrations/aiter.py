"""AITER steered by a table: its `moe_sorting` runs the kernel that the table names, wherever it is called from.

    from moesort_tune.integrations import aiter
    aiter.install("tables/gfx950.yaml")
    ...
    aiter.counts()  # {'exact row': 70, 'neighbours': 2, 'left alone: flat': 4}
    aiter.uninstall()

AITER is not imported here: what is wrapped is wrapped when somebody else imports it.
"""

import functools
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.aiter_steering import BuiltinSteering, PolicySteering, Steering
from moesort_tune.integrations.import_hook import WhenImported
from moesort_tune.sorting import aiter_package
from moesort_tune.tables.files import load
from moesort_tune.tables.schema import Provider

MODULE: Final = "aiter.fused_moe"
"""Holds moe_sorting, and looks it up anew at each call."""

OTHER_REFERENCES: Final = ("aiter.fused_moe_dp_shared_expert",)
"""Modules that hold on to moe_sorting as they found it when they were imported."""

NAME: Final = "moe_sorting"

_log = logging.getLogger("moesort_tune")
_changing = threading.Lock()


class AiterMissingError(MoesortTuneError):
    """AITER is not installed."""


class _Installation:
    """One `install`: waits for AITER, wraps it, and undoes that."""

    def __init__(self, table: str | None, kernels: Provider) -> None:
        self._table = table
        self._kernels = kernels
        self._steering: Steering | None = None
        self._original: Callable[..., Any] | None = None
        self._wrapped: Callable[..., Any] | None = None
        self._hook = WhenImported(MODULE, self._wrap)

    def start(self) -> None:
        self._hook.start()

    def stop(self) -> None:
        """Puts AITER's own function back; where somebody else has wrapped ours since, ours does nothing any more."""
        self._hook.stop()
        if self._steering is not None:
            self._steering.active = False
        for module in _loaded():
            if self._wrapped is not None and getattr(module, NAME, None) is self._wrapped:
                setattr(module, NAME, self._original)

    def counts(self) -> dict[str, int]:
        return {} if self._steering is None else self._steering.counts()

    def _wrap(self, module: ModuleType) -> None:
        """Never raises: it runs inside of AITER's import."""
        try:
            self._original = original = getattr(module, NAME)
            package = aiter_package.find()
            assert package is not None, "it has just been imported"
            steering = BuiltinSteering if self._kernels == "builtin" else PolicySteering
            self._steering = steering(original, package, self._table)
        except Exception as error:
            _log.warning("AITER is left as it is: %s", error)
            return
        self._wrapped = _function(self._steering, original)
        for holder in _loaded():
            if getattr(holder, NAME, None) is original:
                setattr(holder, NAME, self._wrapped)


def _function(steering: Steering, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def moe_sorting(*args: Any, **kwargs: Any) -> Any:
        return steering.call(args, kwargs)

    return moe_sorting


def _loaded() -> list[ModuleType]:
    return [sys.modules[name] for name in (MODULE, *OTHER_REFERENCES) if name in sys.modules]


_installation: _Installation | None = None


def install(table: str | PathLike[str] | None = None, *, kernels: Provider = "aiter") -> None:
    """Makes a table decide for every call of AITER's `moe_sorting` that leaves the choice to AITER.

    table: file or folder; by default MOESORT_TUNE_TABLE, else the tables that ship with this package.
    kernels: 'aiter' sets the policy of AITER's own kernels, by rows that were measured with them. 'builtin' sorts
    with this package's kernels, by rows of theirs, wherever they support every argument of the call.
    A second call replaces the first. If AITER is not imported yet, it is wrapped when it is.
    Raises AiterMissingError, TableError for a file that is no table, ValueError for other kernels.
    """
    global _installation  # noqa: PLW0603 - there is one AITER in a process
    if kernels not in ("aiter", "builtin"):
        raise ValueError(f"kernels must be aiter or builtin, got {kernels!r}")
    if aiter_package.find() is None:
        raise AiterMissingError("AITER cannot be steered because it is not installed: there is no package aiter")
    if table is not None and not Path(table).is_dir():
        load(Path(table))  # refused here rather than in the first call that is served
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = _Installation(None if table is None else fspath(table), kernels)
        _installation.start()


def uninstall() -> None:
    """Puts AITER back as it was; does nothing where it was not changed."""
    global _installation  # noqa: PLW0603
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = None


def counts() -> Mapping[str, int]:
    """How often each reason decided since `install`, 'left alone: ...' where AITER's own choice was kept."""
    return {} if _installation is None else _installation.counts()
