"""This project's own kernels, opened on a device."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from moesort_tune.device import hip
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.timers import Work
from moesort_tune.providers.facts.builtin import PROVIDER
from moesort_tune.providers.work.base import Point, limits_of
from moesort_tune.providers.work.points import build_problem, make_variant
from moesort_tune.sorting.check import WrongOutputError, check_outputs
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.kernels import PreparedSort, SortingKernels
from moesort_tune.sorting.reference import SortedOutputs, moe_sorting

FACTS: Final = PROVIDER.facts


class BuiltinKernels:
    """The kernels of hip_kernels/."""

    name = FACTS.name

    def __init__(self, device: hip.Device) -> None:
        self.compiler = f"hiprtc {hip.get_compiler_version()}"
        self._kernels = SortingKernels(device)
        self.revision = self._kernels.revision

    def warm_up(self, stream: hip.Stream) -> None:
        """Do nothing: the kernels are compiled when they are opened."""

    def limits(self, shape: Shape) -> Limits:
        """Return the limits that LDS sets."""
        return limits_of(FACTS, shape, self._kernels.limits)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedBuiltin"]:
        """Allocate and fill the buffers of every input of the point; free them at the end of `with`."""
        problem = build_problem(point)
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
        """Run `kernel` over junk and compare every output exactly. Raise WrongOutputError."""
        sort = self._sorts[variant]
        sort.spoil()
        sort.launch(kernel, stream)
        stream.synchronize()
        problem = sort.problem
        if variant not in self._expected:  # the same for every kernel
            self._expected[variant] = moe_sorting(
                self._inputs[variant], num_experts=problem.num_experts, unit_size=problem.unit_size
            )
        check_outputs(sort.read_outputs(), self._expected[variant], kernel=kernel, shape=str(self._point))
        if problem.moe_buf_bytes and not sort.is_moe_buf_zero():
            raise WrongOutputError(f"{kernel} is wrong for {self._point}: moe_buf is not all zero")

    def work(self, kernel: KernelName, variant: int) -> Work:
        """Prepare the launches of one sort, and return a function that enqueues them."""
        launches = self._sorts[variant].prepare_launches(kernel)

        def launch_all(stream: hip.Stream) -> None:
            for launch in launches:
                launch.launch(stream)

        return launch_all
