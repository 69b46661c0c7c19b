"""The functions of vLLM and SGLang that sort into tensors of the caller, and the meaning of their arguments.

vLLM: `vllm._custom_ops.moe_align_block_size`. Its Python layer allocates, calls it through the module, and maps the
experts afterwards; every backend that aligns goes through it. The batched and the LoRA form are functions of their own.

SGLang: the two kernels between which its `moe_align_block_size` chooses, in the module of that function. They have the
one meaning, that of a bucket for the id -1 in front of the experts. What the function decides before (its experimental
kernels for LoRA, the counts of inactive blocks, padded expert ids) stays as it is, and so do allocation and capacity.
The single token that its Marlin layer aligns, and LoRA's virtual experts, do not reach these two.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moesort_tune.audit.tally import Asked
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.integrations.align_switch import SGLANG, VLLM
from moesort_tune.integrations.calls import Arguments, Signature

if TYPE_CHECKING:
    import torch


class LeftToFramework(Exception):  # noqa: N818 - no error: the framework does the call
    """A call that the framework does. reason: it is counted under. why: a sentence for the log."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.why = why


class Alignment(NamedTuple):
    """The arguments of `operator.align.fill_aligned`. num_experts: with the id -1 where first_id is -1."""

    topk_ids: "torch.Tensor"
    num_experts: int
    block_size: int
    sorted_token_ids: "torch.Tensor"
    expert_ids: "torch.Tensor"
    num_tokens_post_pad: "torch.Tensor"
    expert_map: "torch.Tensor | None" = None
    scatter_idx: "torch.Tensor | None" = None
    first_id: int = 0

    @property
    def asked(self) -> Asked:
        """The shape of the call, with the number of the model's experts."""
        condition = Condition(moe_buf=False, masked=self.expert_map is not None)
        return Asked(self.num_experts + self.first_id, self.topk_ids.shape[-1], condition)


class Replacement(NamedTuple):
    """A function that is replaced. name: in its module. known: its arguments whose meaning is known, in their order.

    needed: how many of these a function must have to be replaced. defaults: of the last ones. convert: returns what
    their values ask for, or raises LeftToFramework. is_optional: the function is not there on every platform.
    """

    name: str
    known: tuple[str, ...]
    needed: int
    defaults: tuple[Any, ...]
    convert: Callable[..., Alignment]
    is_optional: bool = False

    def read(self, signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Alignment:
        """Return what a call asks for. Raise LeftToFramework."""
        given, required = len(args), len(self.known) - len(self.defaults)
        if not kwargs and given >= required and signature.positional[:given] == self.known[:given]:
            return self.convert(*args, *self.defaults[given - required :])  # as frameworks call it, and faster
        call = Arguments(signature, args, kwargs)
        _check(call, self.known)
        optional = dict(zip(self.known[required:], self.defaults, strict=True))
        return self.convert(*(call.get(name, optional.get(name)) for name in self.known))


def _check(call: Arguments, known: tuple[str, ...]) -> None:
    """Raise LeftToFramework for a call with arguments that are missing, twice there, or of unknown meaning."""
    unknown = call.list_beside(known)
    if unknown:
        raise LeftToFramework(f"unknown argument {unknown[0]}", "the framework alone knows what it means")
    if not call.fits():
        raise LeftToFramework("arguments that do not fit", "the framework refuses them with its own message")


def _convert_sglang(*values: Any) -> Alignment:
    """Convert a call whose num_experts counts the id -1. Where invalid experts are ignored that id is none of them."""
    *sizes_and_outputs, _, is_padded, ignores_invalid = values
    if not is_padded:
        raise LeftToFramework("outputs without padding", "the caller does not want sorted_token_ids filled to its end")
    alignment = Alignment(*sizes_and_outputs)
    if ignores_invalid:
        return alignment._replace(num_experts=alignment.num_experts - 1)
    return alignment._replace(first_id=-1)


def _convert_sglang_small(*values: Any) -> Alignment:
    return Alignment(*values)._replace(first_id=-1)


_SIZES: Final = ("topk_ids", "num_experts", "block_size")

_OUTPUTS: Final = ("sorted_token_ids", "experts_ids", "num_tokens_post_pad")

_SGLANG: Final = (*_SIZES, *_OUTPUTS, "cumsum_buffer", "pad_sorted_token_ids", "ignore_invalid_expert")

REPLACEMENTS: Final[dict[str, tuple[Replacement, ...]]] = {
    VLLM.package: (
        Replacement(
            name="moe_align_block_size",
            known=(*_SIZES, *_OUTPUTS, "expert_map", "scatter_idx"),
            needed=6,
            defaults=(None, None),
            convert=Alignment,
        ),
    ),
    SGLANG.package: (
        Replacement(
            name="sgl_moe_align_block_size",
            known=_SGLANG,
            needed=len(_SGLANG),
            defaults=(False, False),
            convert=_convert_sglang,
        ),
        Replacement(
            name="moe_align_small_numel",
            known=(*_SIZES, "sorted_token_ids", "expert_ids", "num_tokens_post_pad"),
            needed=6,
            defaults=(),
            convert=_convert_sglang_small,
            is_optional=True,
        ),
    ),
}
"""By the framework's package."""
