"""The arguments of a call to somebody else's function, by name however they were passed. Standard library only."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any


class Signature:
    """Names, positions and defaults of a function's arguments. names: all of them, *args and **kwargs included."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = inspect.signature(function).parameters
        kinds = inspect.Parameter
        named = [p for p in parameters.values() if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
        self.names = tuple(parameters)
        self.positional = tuple(p.name for p in named if p.kind is not kinds.KEYWORD_ONLY)
        self.positions = {name: position for position, name in enumerate(self.positional)}
        self.required = tuple(p.name for p in named if p.default is kinds.empty)
        self.defaults = {p.name: p.default for p in named if p.default is not kinds.empty}

    def list_missing(self, needed: Collection[str]) -> list[str]:
        """Return which of these arguments the function does not have."""
        return [name for name in needed if name not in self.names]

    def is_default(self, name: str, value: Any) -> bool:
        """Return whether passing `value` means the same as leaving the argument out."""
        if name not in self.defaults:
            return False
        default = self.defaults[name]
        plain = type(value) is type(default) and isinstance(default, (bool, float, int, str))
        return value is default or (plain and value == default)


class Arguments:
    """The arguments of one call, as they were passed, and by name."""

    __slots__ = ("_values", "args", "kwargs", "signature")

    def __init__(self, signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.signature = signature
        self.args = args
        self.kwargs = kwargs
        self._values = {**signature.defaults, **dict(zip(signature.positional, args, strict=False)), **kwargs}

    def fits(self) -> bool:
        """Return whether the function can be called like this: nothing missing, passed twice or too many."""
        given = self.signature.positional[: len(self.args)]
        return (
            len(self.args) == len(given)
            and self.kwargs.keys().isdisjoint(given)
            and all(name in self._values for name in self.signature.required)
        )

    def get(self, name: str, otherwise: Any = None) -> Any:
        """Return an argument as passed, else its default; `otherwise` where the function has no such argument."""
        return self._values.get(name, otherwise)

    def list_beside(self, known: Collection[str]) -> list[str]:
        """Return the arguments that are not among `known` and whose values are not the defaults."""
        passed = {**dict(zip(self.signature.positional, self.args, strict=False)), **self.kwargs}
        return [
            name for name, value in passed.items() if name not in known and not self.signature.is_default(name, value)
        ]
