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
from moesort_tune.providers.work.points import ExpectedOutputs, build_problem, launch_each, make_variant
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.kernels import PreparedSort, SortingKernels

FACTS: Final = PROVIDER.facts

PIECE_BYTES: Final = 1 << 24
"""Bytes of moe_buf that are read at a time."""


class BuiltinKernels:
    """The kernels of hip_kernels/."""

    name = FACTS.name

    def __init__(self, device: hip.Device) -> None:
        self.compiler = f"hiprtc {hip.get_compiler_version()}"
        with ExitStack() as resources:
            self._memory = resources.enter_context(hip.PinnedMemory(PIECE_BYTES))
            self._kernels = SortingKernels(device)
            resources.callback(self._kernels.close)
            self._resources = resources.pop_all()
        self.revision = self._kernels.revision

    def warm_up(self, stream: hip.Stream) -> None:
        """Do nothing: the kernels are compiled when they are opened."""

    def limits(self, shape: Shape) -> Limits:
        """Return the limits of the kernels, as the facts state them."""
        return limits_of(FACTS, shape, self._kernels.limits)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedBuiltin"]:
        """Allocate and fill the buffers of every input of the point; free them at the end of `with`."""
        problem = build_problem(point)
        inputs = [make_variant(point, variant) for variant in range(point.variants)]
        with ExitStack() as stack:
            sorts = [stack.enter_context(self._kernels.prepare(problem, one)) for one in inputs]
            yield PreparedBuiltin(point, inputs, sorts, self._memory)

    def close(self) -> None:
        """Unload the kernels."""
        self._resources.close()


class PreparedBuiltin:
    """One PreparedSort for each input. memory: what moe_buf is read through."""

    def __init__(
        self, point: Point, inputs: list[SortingInputs], sorts: list[PreparedSort], memory: hip.PinnedMemory
    ) -> None:
        self._memory = memory
        self._sorts = sorts
        self._expected = ExpectedOutputs(point, inputs)

    def check(self, kernel: KernelName, variant: int, stream: hip.Stream) -> None:
        """Run `kernel` over junk and compare every output exactly. Raise WrongOutputError.

        Which bytes of moe_buf a workgroup zeroes does not depend on the input, so they are read for the first one only:
        reading them takes longer than everything else.
        """
        sort = self._sorts[variant]
        sort.spoil()
        sort.launch(kernel, stream)
        stream.synchronize()
        moe_buf_is_zero = variant != 0 or sort.is_moe_buf_zero(self._memory)
        self._expected.check(sort.read_outputs(), variant, kernel=kernel, moe_buf_is_zero=moe_buf_is_zero)

    def work(self, kernel: KernelName, variant: int) -> Work:
        """Prepare the launches of one sort, and return a function that enqueues them."""
        return launch_each(self._sorts[variant].prepare_launches(kernel))
