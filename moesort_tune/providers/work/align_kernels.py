"""This project's own kernels in the align form, opened on a device."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from moesort_tune.device import hip
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.timers import Work
from moesort_tune.providers.facts.align import PROVIDER
from moesort_tune.providers.work.base import Point, limits_of
from moesort_tune.providers.work.points import launch_each, make_variant
from moesort_tune.sorting.align import AlignedOutputs, AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.align_kernels import AlignKernels, PreparedAlign
from moesort_tune.sorting.check import WrongOutputError, check_outputs

FACTS: Final = PROVIDER.facts

ID_BITS: Final = 32
"""Bits of the ids that are measured, as routers of vLLM and SGLang write them by default."""


class OpenedAlign:
    """The kernels of hip_kernels/ in the align form, in vLLM's form of it: SGLang's differs in one expert more."""

    name = FACTS.name

    def __init__(self, device: hip.Device) -> None:
        self.compiler = f"hiprtc {hip.get_compiler_version()}"
        with ExitStack() as resources:
            self._kernels = AlignKernels(device)
            resources.callback(self._kernels.close)
            self._kernels.load(ID_BITS)
            self._resources = resources.pop_all()
        self.revision = self._kernels.revision

    def warm_up(self, stream: hip.Stream) -> None:
        """Do nothing: the kernels are compiled when they are opened."""

    def limits(self, shape: Shape) -> Limits:
        """Return the limits of the kernels, as the facts state them."""
        return limits_of(FACTS, shape, self._kernels.limits)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedAlignPoint"]:
        """Allocate and fill the buffers of every input of the point; free them at the end of `with`."""
        problem = build_align_problem(point)
        inputs = [AlignInputs(make_variant(point, variant).topk_ids) for variant in range(point.variants)]
        with ExitStack() as stack:
            aligned = [stack.enter_context(self._kernels.prepare(problem, one)) for one in inputs]
            yield PreparedAlignPoint(point, problem, inputs, aligned)

    def close(self) -> None:
        """Unload the kernels."""
        self._resources.close()


def build_align_problem(point: Point) -> AlignProblem:
    """Return the sizes of the point under its settings: a block has unit_size rows."""
    shape = point.shape
    return AlignProblem(point.tokens, shape.topk, shape.num_experts, point.settings.unit_size)


class PreparedAlignPoint:
    """One PreparedAlign for each input. The reference aligns each input once."""

    def __init__(
        self, point: Point, problem: AlignProblem, inputs: Sequence[AlignInputs], aligned: Sequence[PreparedAlign]
    ) -> None:
        self._point = point
        self._problem = problem
        self._inputs = inputs
        self._aligned = aligned
        self._expected: dict[int, AlignedOutputs] = {}

    def check(self, kernel: KernelName, variant: int, stream: hip.Stream) -> None:
        """Run `kernel` over junk and compare every output exactly, up to and behind its end. Raise WrongOutputError."""
        aligned = self._aligned[variant]
        aligned.spoil()
        aligned.launch(kernel, stream)
        stream.synchronize()
        try:
            outputs = aligned.read_outputs()
        except WrongOutputError as error:
            raise WrongOutputError(f"{kernel} is wrong for {self._point}: {error}") from error
        check_outputs(outputs, self._align(variant), kernel=kernel, shape=str(self._point))

    def work(self, kernel: KernelName, variant: int) -> Work:
        """Prepare the launches of one alignment, and return a function that enqueues them."""
        return launch_each(self._aligned[variant].prepare_launches(kernel))

    def _align(self, variant: int) -> AlignedOutputs:
        if variant not in self._expected:
            self._expected[variant] = align_block_size(self._inputs[variant], self._problem)
        return self._expected[variant]
