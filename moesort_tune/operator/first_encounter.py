"""Measure which kernel is fastest for a shape that no table knows, the first time that it is sorted.

AITER's pull request 3525 set out to do this; its traps are avoided: every launch has its workspace, nothing is timed
cold, a refused launch or an impossible time is never a win, nothing happens under capture, one thread measures while
others wait, and topk is part of what is remembered.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from moesort_tune.device import hip
from moesort_tune.domain.vocabulary import LOGGER, KernelName
from moesort_tune.measure.engine import ONE_ROUND, Engine, Timer, TimingError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.measure.timers import GraphTimer, Launches, Stopwatch, Work
from moesort_tune.measure.verdict import Verdict

_log = logging.getLogger(LOGGER)

RULE: Final = StoppingRule.make_fixed(8, confidence=0.9)
"""Few rounds, since a first call waits for them; the interval of a ratio leaves out its two extremes."""

LAUNCHES: Final = Launches(most=32)
"""Few sorts in one sample, so that capturing them is quick."""


class ShapeKey(NamedTuple):
    """The key that a choice is remembered by."""

    tokens: int
    num_experts: int
    topk: int
    moe_buf: bool = True
    masked: bool = False


class WarmTimer(Timer, Protocol):
    """Time kernels that were warmed up."""

    def prepare(self, name: KernelName, variant: int) -> None:
        """Warm a kernel up. Raise HipError where it cannot be launched."""


OpenTimer = Callable[[Mapping[KernelName, Work], hip.Stream], AbstractContextManager[WarmTimer]]
"""Open a timer of these works on a stream; leaving the context frees what it holds."""


@dataclass(frozen=True)
class Learned:
    """The choice for one shape, and the times that it rests on.

    kernel: the kernel to run. verdict: None where nothing could be compared.
    samples_us: one sample of each kernel a round, empty where nothing could be compared.
    unit_size, model_dim, dtype: of the call that was measured; model_dim is 0 without a moe_buf.
    """

    kernel: KernelName
    verdict: Verdict | None
    samples_us: Mapping[KernelName, list[float]]
    unit_size: int
    model_dim: int
    dtype: str

    @property
    def winner(self) -> KernelName | None:
        """The kernel that won; None in a tie, where `kernel` is what would have run anyway if it is tied too."""
        return self.verdict.winner if self.verdict else None


@dataclass(frozen=True)
class Encounter:
    """A call that may be measured. works: its legal kernels, on its buffers. otherwise: what runs unmeasured."""

    key: ShapeKey
    works: Mapping[KernelName, Work]
    otherwise: KernelName
    unit_size: int
    model_dim: int
    dtype: str

    def learn(self, verdict: Verdict, samples_us: Mapping[KernelName, list[float]]) -> Learned:
        """Return the choice that a verdict on this call makes."""
        kernel = self.otherwise if self.otherwise in verdict.best else verdict.best[0]
        return Learned(kernel, verdict, samples_us, self.unit_size, self.model_dim, self.dtype)

    def learn_without_samples(self, kernel: KernelName) -> Learned:
        """Return the choice of a kernel that was not compared."""
        return Learned(kernel, None, {}, self.unit_size, self.model_dim, self.dtype)


class FirstEncounters:
    """Remember what was learned on one device in this process."""

    def __init__(self, open_timer: OpenTimer) -> None:
        """Start with nothing learned."""
        self.open_timer = open_timer
        self._learned: dict[ShapeKey, Learned] = {}
        self._lock = threading.Lock()

    def get_kernel(self, key: ShapeKey) -> KernelName | None:
        """Return what was learned of a shape, without waiting; None for nothing yet."""
        learned = self._learned.get(key)
        return None if learned is None else learned.kernel

    def get_learned(self) -> dict[ShapeKey, Learned]:
        """Return everything that was learned."""
        return dict(self._learned)

    def meet(self, encounter: Encounter, stream: hip.Stream) -> KernelName:
        """Return the kernel to run for this call: measured now, unless another thread has done so meanwhile.

        The outputs hold a sort by any of the kernels afterwards. Raise HipError where no kernel can be launched.
        """
        with self._lock:
            if encounter.key not in self._learned:
                self._learned[encounter.key] = self._measure(encounter, stream)
            return self._learned[encounter.key].kernel

    def _measure(self, encounter: Encounter, stream: hip.Stream) -> Learned:
        with self.open_timer(encounter.works, stream) as timer:
            kernels = _prepare(encounter, timer)
            if len(kernels) == 1:
                return encounter.learn_without_samples(kernels[0])
            try:
                measurement = Engine(timer, kernels, variants=1, rule=RULE, warm_up=ONE_ROUND).measure()
            except TimingError as error:
                _log.warning("%s could not be timed (%s); its kernel is chosen without measuring", encounter.key, error)
                chosen = encounter.otherwise if encounter.otherwise in kernels else kernels[0]
                return encounter.learn_without_samples(chosen)
        return encounter.learn(measurement.verdict, measurement.samples_us)


def _prepare(encounter: Encounter, timer: WarmTimer) -> list[KernelName]:
    """Warm up and return the kernels that can be launched, in order. Raise HipError where none can."""
    kernels: list[KernelName] = []
    refusal: hip.HipError | None = None
    for kernel in encounter.works:
        try:
            timer.prepare(kernel, 0)
        except hip.HipError as error:
            _log.warning("%s is not used for %s: %s", kernel, encounter.key, error)
            refusal = error
        else:
            kernels.append(kernel)
    if not kernels and refusal is not None:
        raise refusal
    return kernels


def make_replaying_timer(device: hip.Device) -> OpenTimer:
    """Return what opens timers of replayed graphs, as serving runs them.

    They have no sentinel, which a serving process may not compile. Graphs are captured on a stream of their own, since
    the current stream may be the default stream, which cannot be captured. Raise HipError.
    """
    capturing = device.create_stream()

    @contextmanager
    def open_timer(works: Mapping[KernelName, Work], stream: hip.Stream) -> Iterator[WarmTimer]:
        with (
            closing(Stopwatch(device, stream, capturing=capturing)) as stopwatch,
            closing(GraphTimer(stopwatch, {(kernel, 0): work for kernel, work in works.items()}, None, LAUNCHES)) as it,
        ):
            yield it

    return open_timer
