"""One call of AITER's `moe_sorting`. Standard library only."""

from collections.abc import Callable
from typing import Any, Final

from moesort_tune.domain.vocabulary import Condition
from moesort_tune.errors import MoesortTuneError
from moesort_tune.integrations import calls

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


class Signature(calls.Signature):
    """Names, positions and defaults of moe_sorting's arguments. Raise AiterSignatureError if it cannot be steered."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        missing = self.list_missing(NEEDED)
        if missing:
            raise AiterSignatureError(
                f"this AITER's moe_sorting has no argument {' and no '.join(missing)}, so it cannot be steered; "
                "it takes " + ", ".join(self.names)
            )


class Call(calls.Arguments):
    """The arguments of one call of moe_sorting."""

    __slots__ = ()

    @property
    def condition(self) -> Condition:
        """The work of the call besides sorting. AITER zeroes a moe_buf to accumulate into, and with a mask always."""
        masked = self.get("expert_mask") is not None
        return Condition(bool(self.get("accumulate", otherwise=True)) or masked, masked)

    def list_unknown(self) -> list[str]:
        """Return the arguments that are not in KNOWN and whose values are not the defaults."""
        return self.list_beside(KNOWN)

    def set_policy(self, policy: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the same call with another dispatch_policy, passed in the same way."""
        position = self.signature.positions.get("dispatch_policy")
        if position is not None and position < len(self.args):
            return (*self.args[:position], policy, *self.args[position + 1 :]), dict(self.kwargs)
        return self.args, {**self.kwargs, "dispatch_policy": policy}
