"""Have this package's kernels do what vLLM and SGLang call moe_align_block_size, wherever they support the call.

    from moesort_tune.integrations import align
    align.install("vllm")
    ...
    align.counts()  # {'moe_align_block_size of vLLM': {'taken: exact row': 70}}
    align.uninstall()

No framework is imported here. Its functions are wrapped when somebody else imports them.
"""

import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from moesort_tune import __version__
from moesort_tune.audit import reporter
from moesort_tune.audit.record import Calls, Process, Record, escape
from moesort_tune.audit.tally import Tally
from moesort_tune.domain.vocabulary import LOGGER
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations.align_calls import REPLACEMENTS, Replacement
from moesort_tune.integrations.align_switch import FRAMEWORKS, Framework
from moesort_tune.integrations.calls import Signature
from moesort_tune.integrations.import_hook import WhenImported
from moesort_tune.integrations.wrappers import Function, Wrappers
from moesort_tune.runtime.search import TABLE_VARIABLE

if TYPE_CHECKING:
    from moesort_tune.integrations.align_hook import AlignHook

OPERATOR: Final = "moesort_tune.operator.align"
"""Module whose `fill_aligned` sorts."""

_log = logging.getLogger(LOGGER)
_changing = threading.Lock()


class AlignSignatureError(MoesortTuneError):
    """A framework whose function cannot be replaced."""


class _Installation:
    """Take the calls of one framework: wait for it, wrap its functions, undo that.

    hook: does the calls; None until the framework's module is imported. tally: what came of them.
    """

    def __init__(self, framework: Framework) -> None:
        self.framework = framework
        self.hook: AlignHook | None = None
        self.tally = Tally()
        self._fault = ""
        self._wrappers = Wrappers()
        self._imports = WhenImported(framework.module, self._wrap)

    def start(self) -> None:
        """Wrap the functions now if their module is imported, else when it is."""
        self._imports.start()

    def stop(self) -> None:
        """Put the framework's own functions back."""
        self._imports.stop()
        self.hook = None
        self._fault = f"this was uninstalled: {self.framework.title} aligns by itself since"
        for module, name in self._list_holders():
            original = self._wrappers.find_original(_get(module, name))
            if original is not None:
                setattr(module, name, original)

    def start_anew(self) -> None:
        """Count from zero, in a forked child."""
        self.tally.start_anew()
        if self.hook is not None:
            self.hook.start_anew()
        reporter.renew(self.framework.function)

    def describe(self, process: Process, written: str) -> Record:
        """Return the record of this process for `moesort-tune audit`."""
        fault = self._find_fault()
        version = getattr(sys.modules.get(self.framework.package), "__version__", None)
        return Record(
            function=self.framework.function,
            process=process,
            written=written,
            state=escape(fault or self._describe_state()),
            is_faulty=bool(fault),
            table=escape(os.environ.get(TABLE_VARIABLE) or "") or None,
            kernels="align",
            software={"moesort_tune": __version__} | ({self.framework.package: version} if version else {}),
            calls=[Calls.of(kind, count) for kind, count in self.tally.list_counts()],
        )

    def _describe_state(self) -> str:
        if self.hook is None:
            return f"{self.framework.module} is not imported in this process"
        return f"the calls of {self.framework.function} are counted here, and done where the kernels support them"

    def _find_fault(self) -> str:
        """Return why calls are not seen here, '' where they are."""
        module = sys.modules.get(self.framework.module)
        if self._fault or module is None or getattr(module.__spec__, "_initializing", False):
            return self._fault
        if self.hook is None:
            return f"{self.framework.module} was imported in a way that was not seen: its calls are not counted here"
        held = [_get(module, one.name) for one in self._list_present(module)]
        if all(self._wrappers.are_within(function) for function in held):
            return ""
        return f"somebody has replaced {self.framework.title}'s functions since they were wrapped: calls may pass by"

    def _wrap(self, module: ModuleType) -> None:
        """Wrap the functions of the framework's module. Raise nothing: this runs during its import.

        It runs again where that module is reloaded.
        """
        try:
            self._replace_all(module)
            self._fault = ""
        except Exception as error:
            self._fault = f"{self.framework.title} is left as it is: {error}"
            _log.warning("%s", self._fault)
        reporter.touch(self.framework.function)

    def _replace_all(self, module: ModuleType) -> None:
        """Put a function around each of the framework's. Raise AlignSignatureError before any is replaced."""
        present = self._list_present(module)
        wrapped = [self._build(one, _get(module, one.name)) for one in present if not self._is_wrapped(module, one)]
        if self.hook is None:
            from moesort_tune.integrations.align_hook import AlignHook  # with torch, which the framework has imported

            self.hook = AlignHook(self.framework, importlib.import_module(OPERATOR), self.tally)
        for wrapper, original in wrapped:
            self._wrappers.add(wrapper, original)
            for holder, name in self._list_holders():
                if _get(holder, name) is original:
                    setattr(holder, name, wrapper)

    def _list_present(self, module: ModuleType) -> list[Replacement]:
        """Return what can be replaced in the module. Raise AlignSignatureError where something is missing."""
        replacements = REPLACEMENTS[self.framework.package]
        for one in replacements:
            if _get(module, one.name) is None and not one.is_optional:
                raise AlignSignatureError(f"its module {module.__name__} has no function {one.name} on this platform")
        return [one for one in replacements if _get(module, one.name) is not None]

    def _is_wrapped(self, module: ModuleType, one: Replacement) -> bool:
        return self._wrappers.find_original(_get(module, one.name)) is not None

    def _build(self, one: Replacement, original: Function) -> tuple[Function, Function]:
        """Return a function that replaces `original`, and that. Raise AlignSignatureError if it cannot be replaced."""
        signature = Signature(original)
        missing = signature.list_missing(one.known[: one.needed])
        if missing:
            raise AlignSignatureError(
                f"its {one.name} has no argument {' and no '.join(missing)}; it takes {', '.join(signature.names)}"
            )
        return _wrap_function(self.framework.package, one, original, signature=signature), original

    def _list_holders(self) -> list[tuple[ModuleType, str]]:
        """Return imported modules with a name that they may hold a function under: some keep what they found."""
        names = [one.name for one in REPLACEMENTS[self.framework.package]]
        return [(module, name) for module in list(sys.modules.values()) for name in names]


def _wrap_function(package: str, one: Replacement, original: Function, *, signature: Signature) -> Function:
    """Return the function that replaces `original`. It delegates to the current installation.

    While torch.compile or torch.export traces, it is `original`, whose operator they know.
    """
    import torch

    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def align(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return original(*args, **kwargs)
        installation = _installations.get(package)  # another thread may uninstall it meanwhile
        hook = None if installation is None else installation.hook
        if hook is None:
            return original(*args, **kwargs)
        return hook.call(original, one, signature, args=args, kwargs=kwargs)

    return align


def _get(module: ModuleType, name: str) -> Any:
    """Return what a module holds under a name, without asking what computes its attributes."""
    return getattr(module, "__dict__", {}).get(name)


_installations: dict[str, _Installation] = {}
"""By the framework's package."""


def install(package: str) -> bool:
    """Have this package's kernels do the alignments of a framework, 'vllm' or 'sglang', where they support the call.

    Other calls are done by the framework's own functions, and counted. If the framework is not imported yet, its
    functions are wrapped when they are. Return whether nothing was installed before; then it stays as it is. Where
    MOESORT_TUNE_AUDIT names a folder, this process writes its counts there for `moesort-tune audit`.
    Raise ValueError for another framework.
    """
    framework = FRAMEWORKS.get(package)
    if framework is None:
        raise ValueError(f"the framework must be {' or '.join(FRAMEWORKS)}, got {package!r}")
    with _changing:
        if package in _installations:
            return False
        installation = _installations[package] = _Installation(framework)
        installation.start()
        reporter.start(installation.describe, framework.function)
    return True


def uninstall() -> None:
    """Restore the frameworks' own functions; do nothing where they were not replaced."""
    with _changing:
        for installation in _installations.values():
            installation.stop()
            reporter.touch(installation.framework.function)
            reporter.stop(installation.framework.function)
        _installations.clear()


def counts() -> Mapping[str, Mapping[str, int]]:
    """Return for each framework's function how often each reason was counted since `install`."""
    return {one.framework.function: one.tally.sum_reasons() for one in _installations.values()}


def _start_anew() -> None:
    """Count from zero in a forked child, and report it by itself."""
    global _changing  # noqa: PLW0603
    _changing = threading.Lock()  # the thread that held it is gone
    for installation in _installations.values():
        installation.start_anew()


os.register_at_fork(after_in_child=_start_anew)
