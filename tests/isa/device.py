"""A device like moesort_tune.device.hip's whose kernels run in the emulator, so that the project's own code drives it.

Launch geometry, argument block and buffers are those of moesort_tune.sorting; only what lies under hip.Device differs.
"""

import ctypes
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from moesort_tune.device import compiler, hip
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.sorting.kernels import SortingKernels
from tests.isa.memory import GlobalMemory
from tests.isa.program import EmulatedLaunch, Program
from tests.isa.waves import Order


class EmulatedDevice(hip.Device):
    """An AMD GPU without the GPU. launches: all that were run, oldest first."""

    def __init__(self, arch: str, *, compute_units: int, order: Order = "forward") -> None:
        facts = ARCHITECTURES[arch]
        super().__init__(0, _make_properties(arch, compute_units, facts.wavefront_size, facts.lds_bytes))
        self.memory = GlobalMemory()
        self.order = order
        self.launches: list[EmulatedLaunch] = []

    def allocate(self, nbytes: int) -> "EmulatedBuffer":
        return EmulatedBuffer(self.memory, nbytes)

    def create_stream(self) -> "EmulatedStream":
        return EmulatedStream()

    def load(self, code: bytes) -> "EmulatedModule":
        return EmulatedModule(self, code)

    def synchronize(self) -> None:
        """Nothing is ever pending."""


def load_emulated_kernels(device: EmulatedDevice, code: bytes) -> SortingKernels:
    """Return the builtin kernels on an emulated device, from one code object that holds all of them."""
    with mock.patch.object(compiler, "get_code", return_value=code):
        return SortingKernels(device)


def _make_properties(arch: str, compute_units: int, lanes: int, lds_bytes: int) -> hip.DeviceProperties:
    return hip.DeviceProperties(
        name=f"emulated {arch}",
        arch=arch,
        target=arch,
        compute_units=compute_units,
        wavefront_size=lanes,
        lds_bytes=lds_bytes,
        l2_cache_bytes=0,
        memory_bytes=0,
        runtime="emulator",
        hip_version="0.0.0",
        driver_version="0.0.0",
    )


class EmulatedBuffer(hip.Buffer):
    """Memory of this process."""

    def __init__(self, memory: GlobalMemory, nbytes: int) -> None:
        self.nbytes = nbytes
        self._memory = memory
        self.pointer = memory.allocate(nbytes) if nbytes else 0

    def write(self, array: npt.NDArray[Any], offset: int = 0) -> None:
        data = np.ascontiguousarray(array)
        self._check_range(offset, data.nbytes)
        ctypes.memmove(self.pointer + offset, data.ctypes.data, data.nbytes)

    def read(self, dtype: type[hip.Scalar], count: int, offset: int = 0) -> npt.NDArray[hip.Scalar]:
        result = np.empty(count, dtype)
        self._check_range(offset, result.nbytes)
        ctypes.memmove(result.ctypes.data, self.pointer + offset, result.nbytes)
        return result

    def read_into(self, memory: hip.PinnedMemory, nbytes: int, offset: int = 0) -> npt.NDArray[np.uint8]:
        memory.array[:nbytes] = self.read(np.uint8, nbytes, offset)
        return memory.array[:nbytes]

    def fill(self, byte: int) -> None:
        ctypes.memset(self.pointer, byte, self.nbytes)

    def destroy(self) -> None:
        if self.pointer:
            self._memory.free(self.pointer)
            self.pointer = 0


class EmulatedStream(hip.Stream):
    """Launches are run as they are given."""

    def __init__(self) -> None:
        self.handle = None

    def synchronize(self) -> None:
        """Nothing is ever pending."""


class EmulatedModule(hip.Module):
    """A loaded code object."""

    def __init__(self, device: EmulatedDevice, code: bytes) -> None:
        self.device = device
        self.program = Program(code, device.memory)
        if self.program.object.arch != device.properties.arch:
            raise ValueError(f"code for {self.program.object.arch} was given to an emulated {device.properties.arch}")

    def get_kernel(self, name: str) -> "EmulatedKernel":
        return EmulatedKernel(self, name)


class EmulatedKernel(hip.Kernel):
    """One kernel of a module."""

    def __init__(self, module: EmulatedModule, name: str) -> None:
        super().__init__(name, None)
        self.module = module

    def prepare(
        self, *, grid: int, block: int, lds_bytes: int, arguments: ctypes.Structure
    ) -> "EmulatedPreparedLaunch":
        return EmulatedPreparedLaunch(self, grid, block, lds_bytes, arguments)


class EmulatedPreparedLaunch(hip.PreparedLaunch):
    """One launch, ready to be run."""

    kernel: EmulatedKernel

    def launch(self, stream: hip.Stream) -> None:  # noqa: ARG002 - everything runs at once
        device = self.kernel.module.device
        done = self.kernel.module.program.launch(
            self.kernel.name,
            bytes(self.arguments),
            grid=self.grid,
            block=self.block,
            lds_bytes=self.lds_bytes,
            order=device.order,
        )
        device.launches.append(done)
