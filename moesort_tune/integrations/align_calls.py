"""The functions of vLLM and SGLang that sort into tensors of the caller, and the meaning of their arguments.

vLLM: `vllm._custom_ops.moe_align_block_size`. Its Python layer allocates, calls it through the module, and maps the
experts afterwards; every backend that aligns goes through it. The batched and the LoRA form are functions of their own.

SGLang: the two kernels between which its `moe_align_block_size` chooses, in the module of that function. They have the
one meaning, that of a bucket for the id -1 in front of the experts. What the function decides before (its experimental
kernels for LoRA, the counts of inactive blocks, padded expert ids) stays as it is, and so do allocation and capacity.
The single token that its Marlin layer aligns, and LoRA's virtual experts, do not reach these two.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from moesort_tune.audit.tally import Asked
from moesort_tune.domain.vocabulary import Condition
from moesort_tune.integrations.align_switch import SGLANG, VLLM
from moesort_tune.integrations.calls import Arguments

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
    def tensors(self) -> "tuple[torch.Tensor | None, ...]":
        """All of its tensors, inputs and outputs."""
        outputs = (self.sorted_token_ids, self.expert_ids, self.num_tokens_post_pad)
        return (self.topk_ids, *outputs, self.expert_map, self.scatter_idx)

    @property
    def asked(self) -> Asked:
        """The shape of the call, with the number of the model's experts."""
        masked = self.expert_map is not None
        return Asked(self.num_experts + self.first_id, self.topk_ids.shape[-1], Condition(masked=masked))


class Replacement(NamedTuple):
    """A function that is replaced. name: in its module. needed: arguments without which nothing can be replaced.

    read: returns what a call asks for, or raises LeftToFramework. is_optional: it is not there on every platform.
    """

    name: str
    needed: tuple[str, ...]
    read: Callable[[Arguments], Alignment]
    is_optional: bool = False


_SIZES: Final = ("topk_ids", "num_experts", "block_size")

_VLLM: Final = (*_SIZES, "sorted_token_ids", "experts_ids", "num_tokens_post_pad")

_VLLM_KNOWN: Final = frozenset((*_VLLM, "expert_map", "scatter_idx"))

_SGLANG: Final = (*_VLLM, "cumsum_buffer", "pad_sorted_token_ids", "ignore_invalid_expert")

_SGLANG_SMALL: Final = (*_SIZES, "sorted_token_ids", "expert_ids", "num_tokens_post_pad")


def _read_vllm(call: Arguments) -> Alignment:
    _check(call, _VLLM_KNOWN)
    return Alignment(*(call.get(name) for name in (*_VLLM, "expert_map", "scatter_idx")))


def _read_sglang(call: Arguments) -> Alignment:
    """Read a call whose num_experts counts the id -1. Where invalid experts are ignored that id is none of them."""
    _check(call, _SGLANG)
    if not call.get("pad_sorted_token_ids"):
        raise LeftToFramework("outputs without padding", "the caller does not want sorted_token_ids filled to its end")
    alignment = Alignment(*(call.get(name) for name in _VLLM))
    if call.get("ignore_invalid_expert"):
        return alignment._replace(num_experts=alignment.num_experts - 1)
    return alignment._replace(first_id=-1)


def _read_sglang_small(call: Arguments) -> Alignment:
    _check(call, _SGLANG_SMALL)
    return Alignment(*(call.get(name) for name in _SGLANG_SMALL))._replace(first_id=-1)


def _check(call: Arguments, known: frozenset[str] | tuple[str, ...]) -> None:
    """Raise LeftToFramework for a call with arguments that are missing, twice there, or of unknown meaning."""
    unknown = call.list_beside(known)
    if unknown:
        raise LeftToFramework(f"unknown argument {unknown[0]}", "the framework alone knows what it means")
    if not call.fits():
        raise LeftToFramework("arguments that do not fit", "the framework refuses them with its own message")


REPLACEMENTS: Final[dict[str, tuple[Replacement, ...]]] = {
    VLLM.package: (Replacement("moe_align_block_size", _VLLM, _read_vllm),),
    SGLANG.package: (
        Replacement("sgl_moe_align_block_size", _SGLANG, _read_sglang),
        Replacement("moe_align_small_numel", _SGLANG_SMALL, _read_sglang_small, is_optional=True),
    ),
}
"""By the framework's package."""
