"""One call of AITER's `moe_sorting`, its arguments by name however they were passed. Standard library only."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from moesort_tune.errors import MoesortTuneError

KNOWN: Final = frozenset(
    (
        "topk_ids",
        "topk_weights",
        "num_experts",
        "model_dim",
        "moebuf_dtype",
        "block_size",
        "expert_mask",
        "num_local_tokens",
        "dispatch_policy",
        "return_local_topk_ids",
        "accumulate",
        "flat",
        "output_aux",
    )
)
"""Arguments of AITER's moe_sorting whose meaning is known; as of its commit e4048607 these are all."""

NEEDED: Final = ("topk_ids", "num_experts", "dispatch_policy")
"""Without these there is nothing to steer by, or nothing to steer."""


class AiterSignatureError(MoesortTuneError):
    """An AITER whose moe_sorting is not what it was."""


class Signature:
    """Where AITER's moe_sorting takes its arguments. Raises AiterSignatureError for one that cannot be steered."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = inspect.signature(function).parameters
        missing = [name for name in NEEDED if name not in parameters]
        if missing:
            raise AiterSignatureError(
                f"this AITER's moe_sorting has no argument {' and no '.join(missing)}, so it cannot be steered; "
                "it takes " + ", ".join(parameters)
            )
        self.names = tuple(parameters)
        self.positions = {name: position for position, name in enumerate(parameters)}
        empty = inspect.Parameter.empty
        self.required = tuple(name for name, parameter in parameters.items() if parameter.default is empty)
        self.defaults = {name: p.default for name, p in parameters.items() if p.default is not empty}


class Call:
    """The arguments of one call, as they were passed."""

    __slots__ = ("args", "kwargs", "signature")

    def __init__(self, signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.signature = signature
        self.args = args
        self.kwargs = kwargs

    def fits(self) -> bool:
        """Whether the function can be called like this: nothing missing, nothing passed twice, nothing too many."""
        names, kwargs = self.signature.names, self.kwargs
        positional = names[: len(self.args)]
        return (
            len(self.args) <= len(names)
            and kwargs.keys().isdisjoint(positional)
            and all(name in kwargs or name in positional for name in self.signature.required)
        )

    def get(self, name: str, otherwise: Any = None) -> Any:
        """Value of an argument: as passed, else its default; `otherwise` where this AITER has no such argument."""
        if name in self.kwargs:
            return self.kwargs[name]
        position = self.signature.positions.get(name)
        if position is not None and position < len(self.args):
            return self.args[position]
        return self.signature.defaults.get(name, otherwise)

    def unknown(self) -> list[str]:
        """Arguments that were passed and whose meaning is not known here."""
        passed = [*self.signature.names[: len(self.args)], *self.kwargs]
        return [name for name in passed if name not in KNOWN]

    def with_policy(self, policy: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the same call with another dispatch_policy, passed in the same way."""
        position = self.signature.positions["dispatch_policy"]
        if position < len(self.args):
            return (*self.args[:position], policy, *self.args[position + 1 :]), dict(self.kwargs)
        return self.args, {**self.kwargs, "dispatch_policy": policy}
