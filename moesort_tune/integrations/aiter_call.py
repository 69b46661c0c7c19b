"""One call of AITER's `moe_sorting`, with its arguments by name however they were passed. Standard library only."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from moesort_tune.domain.vocabulary import Condition
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
        "output",
    )
)
"""Arguments of AITER's moe_sorting whose meaning is known: those of commit e4048607, `output` of pull request 4617."""

NEEDED: Final = ("topk_ids", "num_experts", "dispatch_policy")
"""Arguments without which a call cannot be steered."""


class AiterSignatureError(MoesortTuneError):
    """An AITER whose moe_sorting lacks an argument that steering needs."""


class Signature:
    """Names, positions and defaults of moe_sorting's arguments. Raise AiterSignatureError if it cannot be steered."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = inspect.signature(function).parameters
        missing = [name for name in NEEDED if name not in parameters]
        if missing:
            raise AiterSignatureError(
                f"this AITER's moe_sorting has no argument {' and no '.join(missing)}, so it cannot be steered; "
                "it takes " + ", ".join(parameters)
            )
        kinds = inspect.Parameter
        named = [p for p in parameters.values() if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
        self.positional = tuple(p.name for p in named if p.kind is not kinds.KEYWORD_ONLY)
        self.positions = {name: position for position, name in enumerate(self.positional)}
        self.required = tuple(p.name for p in named if p.default is kinds.empty)
        self.defaults = {p.name: p.default for p in named if p.default is not kinds.empty}

    def is_default(self, name: str, value: Any) -> bool:
        """Return whether passing `value` means the same as leaving the argument out."""
        if name not in self.defaults:
            return False
        default = self.defaults[name]
        plain = type(value) is type(default) and isinstance(default, (bool, float, int, str))
        return value is default or (plain and value == default)


class Call:
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
        """Return an argument as passed, else its default; `otherwise` where this AITER has no such argument."""
        return self._values.get(name, otherwise)

    @property
    def condition(self) -> Condition:
        """The work of the call besides sorting. AITER zeroes a moe_buf to accumulate into, and with a mask always."""
        masked = self.get("expert_mask") is not None
        return Condition(bool(self.get("accumulate", otherwise=True)) or masked, masked)

    def list_unknown(self) -> list[str]:
        """Return the arguments that are not in KNOWN and whose values are not the defaults."""
        passed = {**dict(zip(self.signature.positional, self.args, strict=False)), **self.kwargs}
        return [
            name for name, value in passed.items() if name not in KNOWN and not self.signature.is_default(name, value)
        ]

    def set_policy(self, policy: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the same call with another dispatch_policy, passed in the same way."""
        position = self.signature.positions.get("dispatch_policy")
        if position is not None and position < len(self.args):
            return (*self.args[:position], policy, *self.args[position + 1 :]), dict(self.kwargs)
        return self.args, {**self.kwargs, "dispatch_policy": policy}
