"""AITER's own kernels by a table: set the policy of each call that leaves the choice to AITER."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moesort_tune import runtime
from moesort_tune.integrations.aiter_call import Call
from moesort_tune.integrations.aiter_steering import (
    Decision,
    LeaveAlone,
    Outcome,
    Steering,
    convert_integer,
    get_asked_policy,
)
from moesort_tune.providers.facts.aiter import PROVIDER

if TYPE_CHECKING:
    import torch

KERNELS: Final = PROVIDER.facts.name
"""Provider whose rows set the policy of AITER's own kernels."""


class PolicySteering(Steering):
    """Set the policy of AITER's own kernels, by rows that were measured with them."""

    no_dispatcher = "no usable table"
    consequence = "AITER decides by itself"

    def decide(self, call: Call) -> Decision:
        """Return AITER's own call, with the policy that the table names."""
        asked_policy = get_asked_policy(call)
        if asked_policy.reason:
            raise LeaveAlone(asked_policy.reason, asked_policy.why)
        if call.get("expert_mask") is not None and not self.package.negative_ids_are_safe:
            raise LeaveAlone("expert mask, and this AITER is not safe with negative ids")
        ids = call.get("topk_ids")
        dispatcher = self.get_dispatcher(ids.device)
        tokens, topk = ids.shape
        num_experts = convert_integer(call.get("num_experts")) or 0
        moe_buf, masked = call.condition
        if _is_published(dispatcher) and not dispatcher.has_row(num_experts, topk, masked):
            raise LeaveAlone("not among the published figures")
        asked = (tokens, num_experts, topk, moe_buf, masked)
        policy = dispatcher.policy(*asked) or asked_policy.otherwise
        args, kwargs = call.set_policy(policy)
        outcome = Outcome(dispatcher.reason(*asked).value, lambda: str(dispatcher.explain(*asked)))
        return Decision(functools.partial(self.original, *args, **kwargs), outcome, policy)

    def open_dispatcher(self, device: "torch.device") -> runtime.Dispatcher:
        """Open the table for `device`."""
        from moesort_tune.device.torch_devices import get_device_id

        arch, compute_units = _identify(device)
        revision, device_id = self.package.revision, get_device_id(device) or None
        if self.table is None:
            return runtime.get(arch, compute_units, kernels=KERNELS, revision=revision, device_id=device_id)
        return runtime.Dispatcher.load(
            Path(self.table),
            arch=arch,
            compute_units=compute_units,
            kernels=KERNELS,
            revision=revision,
            device_id=device_id,
        )


def _is_published(dispatcher: runtime.Dispatcher) -> bool:
    """Return whether the table holds published figures, which hold for their own few shapes alone."""
    return dispatcher.entry is not None and dispatcher.entry.evidence == "published"


def _identify(device: "torch.device") -> tuple[str, int]:
    """Return architecture and compute units of a tensor's device, asking torch alone where it is a GPU."""
    import torch

    if device.type != "cuda":
        from moesort_tune.operator.sorting_device import get_sorting_device

        limits = get_sorting_device(device).kernels.limits
        return limits.arch, limits.compute_units
    properties = torch.cuda.get_device_properties(device)
    nvidia = f"sm_{properties.major}{properties.minor}"
    return (properties.gcnArchName if torch.version.hip else nvidia), properties.multi_processor_count
