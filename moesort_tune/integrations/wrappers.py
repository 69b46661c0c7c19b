"""The functions that this package has put around others', found by identity: not every callable can be hashed."""

from collections.abc import Callable
from typing import Any, Final

Function = Callable[..., Any]

MAX_DEPTH: Final = 32
"""Functions around a function that are followed."""


class Wrappers:
    """Functions of this package, each with the one that it is around."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Function, Function]] = []

    def add(self, wrapper: Function, original: Function) -> None:
        """Remember that `wrapper` is around `original`."""
        self._pairs.append((wrapper, original))

    def find_original(self, function: Any) -> Function | None:
        """Return what a function of this package is around, None for any other object."""
        return next((original for wrapper, original in self._pairs if wrapper is function), None)

    def are_within(self, function: Any) -> bool:
        """Return whether `function` is of this package, or says by `__wrapped__` that it is around one that is."""
        for _ in range(MAX_DEPTH):
            if self.find_original(function) is not None:
                return True
            function = getattr(function, "__wrapped__", None)
        return False
