"""This project's own kernels as a provider."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from moesort_tune.device import hip
from moesort_tune.sorting.check import WrongOutputError, check_outputs
from moesort_tune.sorting.inputs import Int32Array, Routing, SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.kernels import PreparedSort, SortingKernels
from moesort_tune.sorting.problem import KernelName, Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.tuning.provider import Point
from moesort_tune.tuning.settings import Settings
from moesort_tune.tuning.shape import Shape
from moesort_tune.tuning.timers import Work

ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}

KEPT_INPUTS = 2048
"""Inputs of a whole sweep, of which the largest have 2 MB."""


class BuiltinProvider:
    """oneshot and multiphase of hip_kernels/."""

    name = "builtin"

    def __init__(self, device: hip.Device) -> None:
        self._kernels = SortingKernels(device)
        self.revision = self._kernels.revision
        self.compiler = f"hiprtc {hip.compiler_version()}"

    def oneshot_max_tokens(self, shape: Shape) -> int:
        """The limit that LDS sets."""
        return oneshot_max_tokens(shape.num_experts, shape.topk, self._kernels.limits.lds_bytes)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedBuiltin"]:
        """Buffers of every input of the point, freed at the end of `with`."""
        problem = problem_of(point)
        inputs = [make_variant(point, variant) for variant in range(point.variants)]
        with ExitStack() as stack:
            sorts = [stack.enter_context(self._kernels.prepare(problem, one)) for one in inputs]
            yield PreparedBuiltin(point, inputs, sorts)


class PreparedBuiltin:
    """One PreparedSort for each input."""

    def __init__(self, point: Point, inputs: list[SortingInputs], sorts: list[PreparedSort]) -> None:
        self._point = point
        self._inputs = inputs
        self._sorts = sorts
        self._expected: dict[int, SortedOutputs] = {}

    def check(self, kernel: KernelName, variant: int, stream: hip.Stream) -> None:
        """Runs `kernel` over junk and compares every output exactly. Raises WrongOutputError."""
        sort = self._sorts[variant]
        sort.spoil()
        sort.launch(kernel, stream)
        stream.synchronize()
        problem = sort.problem
        if variant not in self._expected:  # the same for both kernels
            self._expected[variant] = moe_sorting(
                self._inputs[variant], num_experts=problem.num_experts, unit_size=problem.unit_size
            )
        check_outputs(sort.outputs(), self._expected[variant], kernel=kernel, shape=str(self._point))
        if problem.moe_buf_bytes and not sort.moe_buf_is_zero():
            raise WrongOutputError(f"{kernel} is wrong for {self._point}: moe_buf is not all zero")

    def work(self, kernel: KernelName, variant: int) -> Work:
        """One sort, its launches prepared now."""
        launches = self._sorts[variant].launches(kernel)

        def launch_all(stream: hip.Stream) -> None:
            for launch in launches:
                launch.launch(stream)

        return launch_all


def problem_of(point: Point) -> Problem:
    """Sizes of the point under its settings."""
    settings = point.settings
    return Problem(
        rows=point.tokens,
        topk=point.shape.topk,
        num_experts=point.shape.num_experts,
        unit_size=settings.unit_size,
        moe_buf_bytes=point.tokens * settings.model_dim * ELEMENT_BYTES[settings.dtype],
    )


@functools.lru_cache(maxsize=KEPT_INPUTS)
def make_variant(point: Point, variant: int) -> SortingInputs:
    """One of the point's inputs, from the seed of its settings. A point is checked first and timed later."""
    settings = point.settings
    inputs = make_inputs(
        rows=point.tokens,
        topk=point.shape.topk,
        num_experts=point.shape.num_experts,
        seed=settings.seed * 1000 + variant,
        routing=Routing.parse(settings.routing),
    )
    return SortingInputs(inputs.topk_ids, inputs.topk_weights, _mask(point.shape, settings))


def _mask(shape: Shape, settings: Settings) -> Int32Array | None:
    if settings.ep == 1:
        return None
    return make_mask(shape.num_experts, rank=0, ranks=settings.ep)
