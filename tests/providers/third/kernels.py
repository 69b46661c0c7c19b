"""The kernels of the provider: each stands for a sort by launching one small kernel a known number of times."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from moesort_tune.device import hip
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.timers import Work, repeat
from moesort_tune.providers.work.base import Point, limits_of
from moesort_tune.sorting.check import WrongOutputError

from . import PROVIDER

SOURCE = b"""
struct Arguments { int* launches; };
extern "C" __global__ void third_step(const Arguments arguments) { arguments.launches[0] += 1; }
"""


class Arguments(ctypes.Structure):
    """As SOURCE declares it."""

    _fields_ = (("launches", ctypes.c_void_p),)


class ThirdKernels:
    """The kernels, loaded on a device."""

    name, revision, compiler = PROVIDER.facts.name, "1", "hiprtc"

    def __init__(self, device: hip.Device) -> None:
        self._device = device
        self._module = device.load(hip.compile_source(name="third.hip", source=SOURCE, headers={}, options=[]))

    def warm_up(self, _stream: hip.Stream) -> None:
        """Do nothing: the kernels are compiled."""

    def limits(self, shape: Shape) -> Limits:
        """Return the limits that the facts state."""
        return limits_of(PROVIDER.facts, shape, self._device.properties.limits)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedThird"]:
        """Allocate the counter of launches."""
        with self._device.allocate(4) as launches:
            launches.fill(0)
            step = self._module.get_kernel("third_step").prepare(
                grid=1, block=1, lds_bytes=0, arguments=Arguments(launches.pointer)
            )
            yield PreparedThird(point.tokens, launches, step.launch)

    def close(self) -> None:
        """Unload the kernels."""
        self._module.destroy()


class PreparedThird:
    """A point: the number of launches by which each kernel sorts its tokens."""

    def __init__(self, tokens: int, launches: hip.Buffer, step: Work) -> None:
        self._counts = {"wave": tokens, "block": 10 + tokens // 4, "grid": 30}
        self._launches = launches
        self._step = step

    def check(self, kernel: str, variant: int, stream: hip.Stream) -> None:
        """Count the launches. Raise WrongOutputError."""
        self._launches.fill(0)
        self.work(kernel, variant)(stream)
        stream.synchronize()
        launched = int(self._launches.read(np.int32, 1)[0])
        if launched != self._counts[kernel]:
            raise WrongOutputError(f"{kernel} launched {launched} times")

    def work(self, kernel: str, _variant: int) -> Work:
        """Return a function that enqueues one sort."""
        return repeat(self._step, self._counts[kernel])
