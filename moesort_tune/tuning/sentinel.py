"""The sentinel kernel on a device: fixed arithmetic whose time only depends on the device's clock."""

import ctypes

from moesort_tune.device import compiler, hip

STEPS = 1000
"""Dependent multiply-adds of one launch: a few microseconds on a GPU, well above the cost of an empty launch."""


class SentinelArguments(ctypes.Structure):
    """As hip_kernels/sentinel.hip declares it."""

    _fields_ = (("result", ctypes.c_void_p), ("steps", ctypes.c_uint32), ("reserved", ctypes.c_uint32))


class Sentinel:
    """One wave of fixed arithmetic, prepared once."""

    def __init__(self, device: hip.Device) -> None:
        lanes = device.properties.wavefront_size
        self._module = device.load(compiler.code_for(compiler.Unit("sentinel.hip", device.properties.arch)))
        self._result = device.allocate(4 * lanes)
        self._launch = self._module.kernel("sentinel").prepare(
            grid=1, block=lanes, lds_bytes=0, arguments=SentinelArguments(self._result.pointer, STEPS, 0)
        )

    def launch(self, stream: hip.Stream) -> None:
        """Gives one launch to `stream`."""
        self._launch.launch(stream)
