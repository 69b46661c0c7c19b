"""Have a table steer AITER: its `moe_sorting` runs the kernel that the table names, wherever it is called from.

    from moesort_tune.integrations import aiter
    aiter.install("tables/gfx950.yaml")
    ...
    aiter.counts()  # {'exact row': 70, 'neighbours': 2, 'left alone: flat': 4}
    aiter.uninstall()

AITER is not imported here. Its function is wrapped when somebody else imports it.
"""

import functools
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from moesort_tune.domain.vocabulary import LOGGER
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.aiter_steering import MODULE, BuiltinSteering, PolicySteering, Steering
from moesort_tune.integrations.import_hook import WhenImported
from moesort_tune.providers.facts import aiter as aiter_facts
from moesort_tune.providers.facts import builtin as builtin_facts
from moesort_tune.providers.facts.base import Facts
from moesort_tune.providers.work import aiter_package
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.files import is_folder, load

OTHER_REFERENCES: Final = ("aiter.fused_moe_dp_shared_expert",)
"""Modules that keep the moe_sorting that they found when they were imported."""

NAME: Final = "moe_sorting"

_log = logging.getLogger(LOGGER)
_changing = threading.Lock()


class AiterMissingError(MoesortTuneError):
    """AITER that is not installed, or not as a package on disk."""


class _Way(NamedTuple):
    """A way to take AITER's calls: whose kernels sort, and the class that has them do it."""

    facts: Facts
    steering: type[Steering]


_POLICY: Final = _Way(aiter_facts.PROVIDER.facts, PolicySteering)

_BUILTIN: Final = _Way(builtin_facts.PROVIDER.facts, BuiltinSteering)

_WAYS: Final = {way.facts.name: way for way in (_POLICY, _BUILTIN)}

DEFAULT_KERNELS: Final = _POLICY.facts.name


class _Installation:
    """One `install`: wait for AITER, wrap it, undo that. steering: takes the calls; None until AITER is imported."""

    def __init__(self, table: str | None, way: _Way) -> None:
        self.steering: Steering | None = None
        self._table = table
        self._way = way
        self._originals: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._hook = WhenImported(MODULE, self._wrap)

    def start(self) -> None:
        """Wrap AITER now if it is imported, else when it is."""
        self._hook.start()

    def stop(self) -> None:
        """Put AITER's own functions back."""
        self._hook.stop()
        self.steering = None
        for module in _list_loaded():
            original = self._originals.get(getattr(module, NAME, None))  # type: ignore[arg-type]
            if original is not None:
                setattr(module, NAME, original)

    def counts(self) -> dict[str, int]:
        """Return how often each reason decided."""
        return {} if self.steering is None else self.steering.counts()

    def _wrap(self, module: ModuleType) -> None:
        """Wrap the function of AITER's module. Raise nothing: this runs during AITER's import.

        It runs again, even twice, where that module is reloaded.
        """
        if getattr(module, NAME, None) in self._originals:
            return
        try:
            original = getattr(module, NAME)
            package = aiter_package.find()
            if package is None:
                raise AiterMissingError("the imported module `aiter` was not loaded from a package on disk")
            self.steering = self._way.steering(original, package, self._table)
        except Exception as error:
            _log.warning("AITER is left as it is: %s", error)
            return
        wrapped = _wrap_function(original)
        self._originals[wrapped] = original
        for holder in _list_loaded():
            if getattr(holder, NAME, None) is original:
                setattr(holder, NAME, wrapped)


def _wrap_function(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that replaces `original`. It delegates to the current installation."""

    @functools.wraps(original)
    def moe_sorting(*args: Any, **kwargs: Any) -> Any:
        installation = _installation  # another thread may uninstall it meanwhile
        steering = None if installation is None else installation.steering
        return original(*args, **kwargs) if steering is None else steering.call(args, kwargs)

    return moe_sorting


def _list_loaded() -> list[ModuleType]:
    return [sys.modules[name] for name in (MODULE, *OTHER_REFERENCES) if name in sys.modules]


_installation: _Installation | None = None


def install(table: str | PathLike[str] | None = None, *, kernels: str = DEFAULT_KERNELS) -> None:
    """Have a table decide for every call of AITER's `moe_sorting` that leaves the choice to AITER.

    table: file or folder; by default MOESORT_TUNE_TABLE, else the tables that ship with this package.
    kernels: 'aiter' sets the policy of AITER's own kernels, by rows that were measured with them. 'builtin' sorts
    with this package's kernels, by rows of theirs, wherever they support every argument of the call.
    A second call replaces the first. If AITER is not imported yet, it is wrapped when it is.
    Raise AiterMissingError, TableError for a file that is no table or has no row of these kernels, ValueError for
    other kernels.
    """
    global _installation  # noqa: PLW0603 - there is one AITER in a process
    way = _WAYS.get(kernels)
    if way is None:
        raise ValueError(f"kernels must be {' or '.join(_WAYS)}, got {kernels!r}")
    if aiter_package.find() is None:
        raise AiterMissingError("AITER cannot be steered because it is not installed: there is no package aiter")
    path = None if table is None else Path(table).absolute()  # the process may change its folder before the first call
    if path is not None and not is_folder(path):
        _check_table(path, way.facts)  # refused here rather than in the first call that is served
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = _Installation(None if path is None else fspath(path), way)
        _installation.start()


def _check_table(path: Path, facts: Facts) -> None:
    """Raise TableError for a file without rows of these kernels."""
    if all(entry.key.provider != facts.name for entry in load(path).tables):
        raise TableError(
            f"{path} has no rows of {facts.label} kernels; `moesort-tune sweep --kernels {facts.name}` measures them"
        )


def uninstall() -> None:
    """Restore AITER's own function; do nothing where it was not replaced."""
    global _installation  # noqa: PLW0603
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = None


def get_kernels_label(kernels: str) -> str:
    """Return whose kernels `kernels` names, for messages: "AITER's"."""
    return _WAYS[kernels].facts.label


def counts() -> Mapping[str, int]:
    """Return how often each reason decided since `install`; 'left alone: ...' where AITER's own choice was kept."""
    return {} if _installation is None else _installation.counts()
