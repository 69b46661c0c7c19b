"""Run the sentinel on a device: fixed arithmetic whose time depends on the device's clock alone."""

import ctypes
from contextlib import ExitStack

from moesort_tune.device import compiler, hip

STEPS = 1000
"""Dependent multiply-adds of one launch: a few microseconds on a GPU, well above the cost of an empty launch."""


class SentinelArguments(ctypes.Structure):
    """The argument block that hip_kernels/sentinel.hip declares."""

    _fields_ = (("result", ctypes.c_void_p), ("steps", ctypes.c_uint32), ("reserved", ctypes.c_uint32))


class Sentinel:
    """One wave of fixed arithmetic, compiled and prepared once. Close it to free its memory.

    steps: dependent multiply-adds of one launch; with 0 the kernel is empty but for one store of each lane.
    """

    def __init__(self, device: hip.Device, steps: int = STEPS) -> None:
        """Compile and load the sentinel. Raise HipError, CompileError."""
        lanes = device.properties.wavefront_size
        code = compiler.get_code(compiler.Unit("sentinel.hip", device.properties.arch))
        with ExitStack() as resources:
            kernel = resources.enter_context(device.load(code)).get_kernel("sentinel")
            result = resources.enter_context(device.allocate(4 * lanes))
            arguments = SentinelArguments(result.pointer, steps, 0)
            self._launch = kernel.prepare(grid=1, block=lanes, lds_bytes=0, arguments=arguments)
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Unload it and free its memory. Raise HipError."""
        self._resources.close()

    def launch(self, stream: hip.Stream) -> None:
        """Enqueue one launch on `stream`."""
        self._launch.launch(stream)
