"""This project's own kernels as a provider."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from moesort_tune.device import hip
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.timers import Work
from moesort_tune.providers.work.base import Point
from moesort_tune.sorting.check import WrongOutputError, check_outputs
from moesort_tune.sorting.inputs import Int32Array, Routing, SortingInputs, make_inputs, make_mask
from moesort_tune.sorting.kernels import PreparedSort, SortingKernels
from moesort_tune.sorting.problem import Problem
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting
from moesort_tune.sorting.sizes import oneshot_max_tokens

ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}

KEPT_BYTES = 512 << 20
"""Host memory for inputs that were made: those of a default sweep take less, those of a million tokens are not kept."""


class BuiltinProvider:
    """oneshot and multiphase of hip_kernels/."""

    name = "builtin"

    def __init__(self, device: hip.Device) -> None:
        self.compiler = f"hiprtc {hip.compiler_version()}"
        self._kernels = SortingKernels(device)
        self.revision = self._kernels.revision

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

    def close(self) -> None:
        """Unload the kernels."""
        self._kernels.close()


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


class KeptInputs:
    """The inputs that were used last, as many as `most_bytes` of host memory hold. nbytes: what they take."""

    def __init__(self, most_bytes: int) -> None:
        self.nbytes = 0
        self._most_bytes = most_bytes
        self._inputs: OrderedDict[tuple[Point, int], SortingInputs] = OrderedDict()

    def get(self, point: Point, variant: int) -> SortingInputs:
        """Return one of the point's inputs, made now unless it is kept."""
        kept = self._inputs.get((point, variant))
        if kept is not None:
            self._inputs.move_to_end((point, variant))
            return kept
        made = self._inputs[point, variant] = _make_variant(point, variant)
        self.nbytes += made.nbytes
        while self.nbytes > self._most_bytes:
            _, dropped = self._inputs.popitem(last=False)
            self.nbytes -= dropped.nbytes
        return made


make_variant: Final = KeptInputs(KEPT_BYTES).get
"""Returns one of a point's inputs, from the seed of its settings. A point is checked first and timed later."""


def _make_variant(point: Point, variant: int) -> SortingInputs:
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
