"""The stand-ins for what vLLM and SGLang align with, and calls of them with canaries behind every output."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moesort_tune.audit import reasons
from moesort_tune.integrations.align_switch import SGLANG, VLLM
from moesort_tune.runtime.lookup import Reason
from moesort_tune.sorting.align import AlignedOutputs, align_block_size
from moesort_tune.sorting.check import check_outputs
from tests.integrations.reference_operators import runs
from tests.sorting.align_cases import AlignCase

ALIGN_STAND_IN = Path(__file__).parent / "align_stand_in"

TAKEN = f"{reasons.TAKEN}: {Reason.OWN_RULE}"
"""What is counted of calls that the kernels do where no table is named."""

CANARY = -77
"""What lies behind outputs."""


@dataclass(frozen=True)
class Frameworks:
    """The stand-ins, each imported when it is first asked for. device: of the tensors."""

    device: torch.device

    @property
    def vllm(self) -> Any:
        return importlib.import_module(VLLM.module)

    @property
    def sglang(self) -> Any:
        return importlib.import_module(SGLANG.module)

    @property
    def theirs(self) -> list[int]:
        """The pairs of each call that reached the frameworks' own kernels."""
        return runs.pairs

    def forget(self) -> None:
        """Have the modules imported anew."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("vllm", "sglang")]:
            del sys.modules[name]
        runs.pairs.clear()

    def call_vllm(self, case: AlignCase, **changed: Any) -> None:
        """Align a case by vLLM's function at vLLM's lengths, and compare every element. changed: arguments."""
        problem = case.problem
        lengths = (problem.capacity_rows, problem.capacity_blocks, 1, problem.pairs)
        whole = [self._make(length) for length in lengths]
        *outputs, scatter_idx = [tensor[:length] for tensor, length in zip(whole, lengths, strict=True)]
        maps = {} if case.inputs.expert_map is None else {"expert_map": self.copy(case.inputs.expert_map)}
        known = {"scatter_idx": scatter_idx.view(-1, 1), **maps, **changed}
        ids = known.pop("topk_ids", self.copy(case.inputs.topk_ids))
        self.vllm.moe_align_block_size(ids, problem.num_experts, problem.block_size, *outputs, **known)
        check((*outputs, scatter_idx), case)
        for tensor, length in zip(whole, lengths, strict=True):
            assert (tensor[length:] == CANARY).all()

    def call_sglang(self, case: AlignCase, **options: Any) -> None:
        """Align a case by SGLang's function, and compare every element."""
        problem = case.problem
        ids = self.copy(case.inputs.topk_ids)
        ignore = {"ignore_invalid_expert": problem.ignore_invalid_experts}
        *outputs, count = self.sglang.moe_align_block_size(
            ids, problem.block_size, problem.num_experts, **ignore, **options
        )
        check((*outputs, count[:1]), case)

    def copy(self, array: Any) -> torch.Tensor:
        """Return a tensor of an array."""
        return torch.from_numpy(array).to(self.device)

    def _make(self, length: int) -> torch.Tensor:
        return torch.full((length + 64,), CANARY, dtype=torch.int32, device=self.device)


def check(outputs: tuple[torch.Tensor, ...], case: AlignCase) -> None:
    """Compare every element with the reference. Raise WrongOutputError."""
    names = ("sorted_token_ids", "expert_ids", "num_tokens_post_pad", "scatter_idx")
    arrays: Mapping[str, Any] = {
        name: tensor.cpu().numpy().reshape(-1) for name, tensor in zip(names, outputs, strict=False)
    }
    check_outputs(
        AlignedOutputs(**arrays),
        align_block_size(case.inputs, case.problem),
        kernel="moe_align_block_size",
        shape=str(case.problem),
    )
