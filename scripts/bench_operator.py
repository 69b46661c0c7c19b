"""Print the host cost of one call of the torch operator, for the table's choice and each kernel.

On a GPU a call ends when its launches are queued. On `host` a launch runs the kernel, so launches are left out there.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch

from moesort_tune.device import hip, libraries
from moesort_tune.operator.policies import KERNELS
from moesort_tune.operator.torch_operator import moe_sorting
from moesort_tune.sorting.inputs import make_inputs

CALLS = 100
"""Calls timed together: fewer than a GPU's queue takes, so that no call waits for the device."""

BATCHES = 200
GOAL_US = 25.0
ROWS, EXPERTS, TOPK, MODEL_DIM = 32, 128, 4, 2880
"""gpt-oss-120b at a decode batch of 32."""


def print_operator_cost() -> None:
    """Time and print the host cost of a call."""
    on_host = libraries.detect_runtime() == "host"
    device = torch.device("cpu" if on_host else "cuda")
    inputs = make_inputs(rows=ROWS, topk=TOPK, num_experts=EXPERTS, seed=0)
    ids, weights = (torch.from_numpy(array).to(device) for array in (inputs.topk_ids, inputs.topk_weights))
    costs = {}
    for policy, name in ((0, "by the table"), *KERNELS.items()):

        def call(policy: int = policy) -> None:
            moe_sorting(ids, weights, EXPERTS, model_dim=MODEL_DIM, dispatch_policy=policy)

        call()
        with replace_launches(on_host):
            costs[name] = measure_us(call, device)
    text = ", ".join(f"{name} {cost:.1f} us" for name, cost in costs.items())
    left_out = ", launches left out" if on_host else ""
    print(f"moe_sorting of {ROWS} tokens on {device}{left_out}: {text} of host time (goal: under {GOAL_US:.0f})")


def measure_us(call: Callable[[], None], device: torch.device) -> float:
    """Return the least time of many batches, the device idle before each: other load only adds to it."""
    times = []
    for _ in range(BATCHES):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(CALLS):
            call()
        times.append((time.perf_counter() - started) / CALLS * 1e6)
    return min(times)


@contextmanager
def replace_launches(wanted: bool) -> Iterator[None]:
    """Make launches do nothing."""
    with mock.patch.object(hip.PreparedLaunch, "launch", skip_launch) if wanted else nullcontext():
        yield


def skip_launch(_launch: hip.PreparedLaunch, _stream: hip.Stream) -> None:
    """Do nothing in place of a launch: a mock would cost more than the timed call."""


if __name__ == "__main__":
    print_operator_cost()
