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
from moesort_tune.integrations.aiter_steering import MODULE, BuiltinSteering, PolicySteering, Steering
from moesort_tune.integrations.import_hook import WhenImported
from moesort_tune.providers.work import aiter_package
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.files import is_folder, load
from moesort_tune.tables.schema import Provider

OTHER_REFERENCES: Final = ("aiter.fused_moe_dp_shared_expert",)
"""Modules that hold on to moe_sorting as they found it when they were imported."""

NAME: Final = "moe_sorting"

_log = logging.getLogger("moesort_tune")
_changing = threading.Lock()


class AiterMissingError(MoesortTuneError):
    """AITER is not installed."""


class _Installation:
    """One `install`: waits for AITER, wraps it, and undoes that. steering: takes the calls; None without AITER."""

    def __init__(self, table: str | None, kernels: Provider) -> None:
        self.steering: Steering | None = None
        self._table = table
        self._kernels = kernels
        self._originals: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._hook = WhenImported(MODULE, self._wrap)

    def start(self) -> None:
        self._hook.start()

    def stop(self) -> None:
        """Puts AITER's own functions back."""
        self._hook.stop()
        self.steering = None
        for module in _loaded():
            original = self._originals.get(getattr(module, NAME, None))  # type: ignore[arg-type]
            if original is not None:
                setattr(module, NAME, original)

    def counts(self) -> dict[str, int]:
        return {} if self.steering is None else self.steering.counts()

    def _wrap(self, module: ModuleType) -> None:
        """Never raises: it runs inside of AITER's import, and again, even twice, where that module is loaded anew."""
        if getattr(module, NAME, None) in self._originals:
            return
        try:
            original = getattr(module, NAME)
            package = aiter_package.find()
            if package is None:
                raise AiterMissingError("what was imported as aiter is no package with files")
            steering = BuiltinSteering if self._kernels == "builtin" else PolicySteering
            self.steering = steering(original, package, self._table)
        except Exception as error:
            _log.warning("AITER is left as it is: %s", error)
            return
        wrapped = _function(original)
        self._originals[wrapped] = original
        for holder in _loaded():
            if getattr(holder, NAME, None) is original:
                setattr(holder, NAME, wrapped)


def _function(original: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in AITER's place. Whoever holds on to it goes by the installation of the day."""

    @functools.wraps(original)
    def moe_sorting(*args: Any, **kwargs: Any) -> Any:
        installation = _installation  # another thread may take it away meanwhile
        steering = None if installation is None else installation.steering
        return original(*args, **kwargs) if steering is None else steering.call(args, kwargs)

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
    Raises AiterMissingError, TableError for a file that is no table or has no row of these kernels, ValueError for
    other kernels.
    """
    global _installation  # noqa: PLW0603 - there is one AITER in a process
    if kernels not in ("aiter", "builtin"):
        raise ValueError(f"kernels must be aiter or builtin, got {kernels!r}")
    if aiter_package.find() is None:
        raise AiterMissingError("AITER cannot be steered because it is not installed: there is no package aiter")
    path = None if table is None else Path(table).absolute()  # the process may go elsewhere before the first call
    if path is not None and not is_folder(path):
        _check_table(path, kernels)  # refused here rather than in the first call that is served
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = _Installation(None if path is None else fspath(path), kernels)
        _installation.start()


def _check_table(path: Path, kernels: Provider) -> None:
    if all(entry.key.provider != kernels for entry in load(path).tables):
        whose = "AITER's kernels" if kernels == "aiter" else "moesort-tune's kernels"
        raise TableError(f"{path} has no rows of {whose}; `moesort-tune sweep --kernels {kernels}` measures them")


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
