"""See which of AITER's sorting kernels a call of `moe_sorting` really reaches, and by which policy."""

import contextlib
import functools
import inspect
import operator
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from moesort_tune.integrations.wrappers import Wrappers

PACKAGE: Final = "aiter"

MODULE: Final = "aiter.fused_moe"
"""Holds moe_sorting, what it calls, and the switches of AITER's other backends."""

KERNEL: Final = "moe_sorting_opus_fwd"
"""Runs the two sorting kernels. moe_sorting looks it up in the package at each call."""

SORT: Final = "_moe_sorting_impl"
"""Below moe_sorting, allocates and calls the kernel; SGLang replaces it on gfx950 by a sort of its own."""

UNKNOWN: Final = None
"""The policy of a call that does not show it."""

Reached = list[int | None]
"""Policies that reached the kernel."""


class _Seen(threading.local):
    """The policies that reached the kernel in this thread, None where nobody watches."""

    policies: Reached | None = None


class KernelWatch:
    """Note the policies that reach AITER's sorting kernels, by a function around the one that runs them.

    Where somebody has wrapped that function since, it is wrapped again on top: both note a policy that changes in
    between.
    """

    def __init__(self) -> None:
        self._seen = _Seen()
        self._wrappers = Wrappers()
        self._is_attached = True
        self._changing = threading.Lock()

    def start(self) -> tuple[Reached | None, Reached]:
        """Watch this thread. Return the list that it had before, for `end`, and the one to which its sorts add.

        Raise nothing: where the function cannot be wrapped, the list stays empty.
        """
        with contextlib.suppress(Exception):
            self._attach()
        before, reached = self._seen.policies, Reached()
        self._seen.policies = reached
        return before, reached

    def end(self, before: Reached | None) -> None:
        """Watch as before `start`."""
        self._seen.policies = before

    def detach(self) -> None:
        """Put AITER's own function back, where nobody has wrapped it since, and wrap it no more."""
        with self._changing:
            self._is_attached = False
            package = sys.modules.get(PACKAGE)
            original = self._wrappers.find_original(getattr(package, KERNEL, None))
            if package is not None and original is not None:
                setattr(package, KERNEL, original)

    def _attach(self) -> None:
        """Wrap the function unless it is ours; this runs again where the package was reloaded."""
        package = sys.modules.get(PACKAGE)
        current = getattr(package, KERNEL, None)
        if package is None or current is None or self._wrappers.find_original(current) is not None:
            return
        if not self._changing.acquire(blocking=False):  # another thread wraps it, or detaches
            return
        try:
            if self._is_attached:
                noting = self._wrap(current)
                self._wrappers.add(noting, current)
                setattr(package, KERNEL, noting)
        finally:
            self._changing.release()

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        position = _find_position(original, "dispatch_policy")
        seen = self._seen

        @functools.wraps(original)
        def moe_sorting_opus_fwd(*args: Any, **kwargs: Any) -> Any:
            if seen.policies is not None:
                seen.policies.append(_get_policy(args, kwargs, position))
            return original(*args, **kwargs)

        return moe_sorting_opus_fwd


def _find_position(function: Callable[..., Any], name: str) -> int | None:
    """Return the position of an argument, None where nothing tells it."""
    names = _list_arguments(function)
    if name not in names:
        names = _list_schema_arguments()
    return names.index(name) if name in names else None


def _list_arguments(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function of C++
        return []


def _list_schema_arguments() -> list[str]:
    """Return the arguments of AITER's operator in torch: its Python function takes *args and names none."""
    import torch

    try:
        return [argument.name for argument in getattr(torch.ops.aiter, KERNEL).default._schema.arguments]
    except AttributeError:  # not registered as an operator
        return []


def _get_policy(args: tuple[Any, ...], kwargs: dict[str, Any], position: int | None) -> int | None:
    if "dispatch_policy" in kwargs:
        return _convert(kwargs["dispatch_policy"])
    if position is None:
        return UNKNOWN
    return _convert(args[position]) if position < len(args) else 0


def _convert(policy: Any) -> int | None:
    """Return a Python or numpy integer as Python's, UNKNOWN for all else."""
    try:
        return operator.index(policy)
    except TypeError:
        return UNKNOWN


def find_replacement(module: ModuleType | None) -> str | None:
    """Return the module of the sort that a framework has put below AITER's moe_sorting, None where it is AITER's.

    A wrap that keeps the original's name and module is recognised by the globals of its code.
    """
    sort = getattr(module, SORT, None)
    while isinstance(sort, functools.partial):
        sort = sort.func
    if sort is None:  # this AITER has no such function, so nobody has replaced it
        return None
    home = str(getattr(sort, "__globals__", {}).get("__name__") or type(sort).__module__)
    return None if home.partition(".")[0] in (PACKAGE, "functools") else home
