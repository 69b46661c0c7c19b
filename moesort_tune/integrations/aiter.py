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
import os
import sys
import threading
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from moesort_tune import __version__
from moesort_tune.audit import reporter
from moesort_tune.audit.record import Calls, Process, Record, escape
from moesort_tune.audit.tally import Tally
from moesort_tune.domain.vocabulary import LOGGER
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.aiter_builtin import BuiltinSteering
from moesort_tune.integrations.aiter_kernel import MODULE
from moesort_tune.integrations.aiter_policy import PolicySteering
from moesort_tune.integrations.aiter_steering import Steering
from moesort_tune.integrations.import_hook import WhenImported
from moesort_tune.integrations.wrappers import Function, Wrappers
from moesort_tune.providers.facts import aiter as aiter_facts
from moesort_tune.providers.facts import builtin as builtin_facts
from moesort_tune.providers.facts.base import Facts
from moesort_tune.providers.work import aiter_package
from moesort_tune.runtime.search import TABLE_VARIABLE, check_required
from moesort_tune.tables.errors import TableError
from moesort_tune.tables.files import is_folder, load

NAME: Final = "moe_sorting"

WAITING: Final = "AITER is not imported in this process"
"""State of a process before the wrap. Many processes of a serving framework stay in it."""

STEERING: Final = "AITER's calls are counted and decided here"

WRAPPED_OVER: Final = "somebody has replaced AITER's moe_sorting since it was wrapped: calls may pass by"

PASSED_BY: Final = "AITER was imported in a way that was not seen: its calls are neither counted nor decided here"

UNINSTALLED: Final = "the steering was uninstalled: AITER decides by itself since"

_log = logging.getLogger(LOGGER)
_changing = threading.Lock()


class AiterMissingError(MoesortTuneError):
    """AITER that is not installed, or not as a package on disk."""


class AiterTooOldError(MoesortTuneError):
    """AITER whose two sorting kernels cannot be steered."""


class _Way(NamedTuple):
    """A way to take AITER's calls: whose kernels sort, and the class that has them do it."""

    facts: Facts
    steering: type[Steering]


_POLICY: Final = _Way(aiter_facts.PROVIDER.facts, PolicySteering)

_BUILTIN: Final = _Way(builtin_facts.PROVIDER.facts, BuiltinSteering)

_WAYS: Final = {way.facts.name: way for way in (_POLICY, _BUILTIN)}

DEFAULT_KERNELS: Final = _POLICY.facts.name


class _Installation:
    """One `install`: wait for AITER, wrap it, undo that.

    steering: takes the calls; None until AITER is imported. tally: what came of them.
    """

    def __init__(self, table: str | None, way: _Way) -> None:
        self.steering: Steering | None = None
        self.tally = Tally()
        self.table = table
        self.way = way
        self._fault = ""
        self._wrappers = Wrappers()
        self._hook = WhenImported(MODULE, self._wrap)
        self._is_stopped = False

    def start(self) -> None:
        """Wrap AITER now if it is imported, else when it is."""
        self._hook.start()

    def stop(self, why: str = "") -> None:
        """Put AITER's own functions back. why: the fault to report of a process that goes on without."""
        self._is_stopped = True
        self._fault = why
        self._hook.stop()
        if self.steering is not None:
            self.steering.stop()
        self.steering = None
        for module in _list_modules():
            original = self._wrappers.find_original(_get_function(module))
            if original is not None:
                setattr(module, NAME, original)

    def start_anew(self) -> None:
        """Count from zero, in a forked child."""
        self.tally.start_anew()
        if self.steering is not None:
            self.steering.start_anew()

    def describe(self, process: Process, written: str) -> Record:
        """Return the record of this process for `moesort-tune audit`."""
        package = None if self.steering is None else self.steering.package
        fault = self._find_fault()
        return Record(
            process=process,
            written=written,
            state=fault or (WAITING if self.steering is None else STEERING),
            is_faulty=bool(fault),
            table=escape(self.table or os.environ.get(TABLE_VARIABLE) or "") or None,
            kernels=self.way.facts.name,
            software={"moesort_tune": __version__} | ({} if package is None else {"aiter": package.revision}),
            calls=[Calls.of(kind, count) for kind, count in self.tally.list_counts()],
        )

    def _find_fault(self) -> str:
        """Return why calls of AITER are not seen here, '' where they are."""
        module = sys.modules.get(MODULE)
        if self._fault or self._is_stopped or module is None or _is_importing(module):
            return self._fault
        if self.steering is None:
            return PASSED_BY
        return "" if self._wrappers.are_within(_get_function(module)) else WRAPPED_OVER

    def _wrap(self, module: ModuleType) -> None:
        """Wrap the function of AITER's module. Raise nothing: this runs during AITER's import.

        It runs again, even twice, where that module is reloaded.
        """
        if self._is_stopped or self._wrappers.find_original(_get_function(module)) is not None:
            return
        try:
            self._replace(getattr(module, NAME))
            self._fault = ""
            _log.info("AITER's sorting calls are counted, and decided by %s", self.table or "the table of this process")
        except Exception as error:
            self._fault = f"AITER is left as it is: {error}"
            _log.warning("%s", self._fault)
        reporter.touch()

    def _replace(self, original: Function) -> None:
        """Put a function around `original` wherever that is held. Raise what the steering raises."""
        package = aiter_package.find()
        if package is None:
            raise AiterMissingError("the imported module `aiter` was not loaded from a package on disk")
        self.steering = self.way.steering(original, package, self.table, self.tally)
        wrapper = _wrap_function(original)
        self._wrappers.add(wrapper, original)
        for holder in _list_modules():
            if _get_function(holder) is original:
                setattr(holder, NAME, wrapper)


class _Inside(threading.local):
    """Whether this thread is in a call that is steered."""

    is_set = False


_inside = _Inside()


def _wrap_function(original: Function) -> Function:
    """Return the function that replaces `original`. It delegates to the current installation.

    A call from within a steered call is `original`'s: a framework may have kept the function of an earlier
    installation, and put it below this one.
    """

    @functools.wraps(original)
    def moe_sorting(*args: Any, **kwargs: Any) -> Any:
        installation = _installation  # another thread may uninstall it meanwhile
        steering = None if installation is None else installation.steering
        if steering is None or _inside.is_set:
            return original(*args, **kwargs)
        _inside.is_set = True
        try:
            return steering.call(args, kwargs)
        finally:
            _inside.is_set = False

    return moe_sorting


def _list_modules() -> list[ModuleType]:
    """Return the modules that are imported: some of AITER's, and of frameworks, keep the function that they found."""
    return list(sys.modules.values())


def _get_function(module: ModuleType) -> Any:
    """Return the moe_sorting that a module holds, without asking what computes its attributes."""
    return getattr(module, "__dict__", {}).get(NAME)


def _is_importing(module: ModuleType) -> bool:
    """Return whether the module is not complete yet, as the import system itself notes."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


_installation: _Installation | None = None


def install(table: str | PathLike[str] | None = None, *, kernels: str = DEFAULT_KERNELS) -> None:
    """Have a table decide for every call of AITER's `moe_sorting` that leaves the choice to AITER.

    table: file or folder; by default MOESORT_TUNE_TABLE, else the tables that ship with this package.
    kernels: 'aiter' sets the policy of AITER's own kernels, by rows that were measured with them. 'builtin' sorts
    with this package's kernels, by rows of theirs, wherever they support every argument of the call.
    A second call replaces the first. If AITER is not imported yet, it is wrapped when it is. Where MOESORT_TUNE_AUDIT
    names a folder, this process writes its counts there for `moesort-tune audit`.
    Raise AiterMissingError, AiterTooOldError, TableError for a file that is no table or has no row of these kernels,
    ValueError for other kernels.
    """
    global _installation  # noqa: PLW0603 - there is one AITER in a process
    way = _WAYS.get(kernels)
    if way is None:
        raise ValueError(f"kernels must be {' or '.join(_WAYS)}, got {kernels!r}")
    _check_package(way)
    path = None if table is None else Path(table).absolute()  # the process may change its folder before the first call
    if path is not None and not is_folder(path):
        _check_table(path, way.facts)  # refused here rather than in the first call that is served
    with _changing:
        if _installation is not None:
            _installation.stop()
        _installation = _Installation(None if path is None else fspath(path), way)
        _installation.start()
        reporter.start(_installation.describe)


def _check_package(way: _Way) -> None:
    """Raise AiterMissingError or AiterTooOldError where there is no AITER to steer in this way."""
    package = aiter_package.find()
    if package is None:
        raise AiterMissingError("AITER cannot be steered because it is not installed: there is no package aiter")
    if package.lacks and way is _POLICY:
        raise AiterTooOldError(
            f"AITER {package.version} cannot be steered: it lacks {package.lacks}, and sorts by CK kernels, about "
            "which no table says anything; the two kernels of a table are AITER's default from v0.1.14 on"
        )


def _check_table(path: Path, facts: Facts) -> None:
    """Raise TableError for a file without rows of these kernels, or that MOESORT_TUNE_REQUIRE excludes."""
    check_required(path, os.environ)
    if all(entry.key.provider != facts.name for entry in load(path).tables):
        raise TableError(
            f"{path} has no rows of {facts.label} kernels; `moesort-tune sweep --kernels {facts.name}` measures them"
        )


def uninstall() -> None:
    """Restore AITER's own function; do nothing where it was not replaced."""
    global _installation  # noqa: PLW0603
    with _changing:
        if _installation is not None:
            _installation.stop(UNINSTALLED)
            reporter.touch()
        reporter.stop()
        _installation = None


def find_installed() -> str | None:
    """Return what `install` was last called with, as text for messages; None where nothing is installed."""
    if _installation is None:
        return None
    return f"{_installation.way.facts.label} sorting kernels, by {_installation.table or 'the table of this process'}"


def counts() -> Mapping[str, int]:
    """Return how often each reason was counted since `install`; 'left alone: ...' where AITER's own choice was kept."""
    return {} if _installation is None else _installation.tally.sum_reasons()


def _start_anew() -> None:
    """Count from zero in a forked child, and report it by itself."""
    global _changing  # noqa: PLW0603
    _changing = threading.Lock()  # the thread that held it is gone
    if _installation is not None:
        _installation.start_anew()
    reporter.renew()


os.register_at_fork(after_in_child=_start_anew)
