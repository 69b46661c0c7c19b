"""HIP through hip-python: devices, memory, streams, events, modules, launches, graphs, run-time compilation.

What is made here is given back by `destroy`, or at the end of a `with`.
"""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from moesort_tune.device import bindings, hip_calls, libraries
from moesort_tune.device.architectures import parse_gcn_arch_name
from moesort_tune.device.hip_calls import failed_call, hip_module, missing_call
from moesort_tune.device.machine import amdgpu_version

Scalar = TypeVar("Scalar", bound=np.generic)
Own = TypeVar("Own", bound="Resource")

HipError = hip_calls.HipError
checked = hip_calls.checked

_CAPTURING = 1
"""hipStreamCaptureStatusActive."""


@dataclass(frozen=True)
class DeviceProperties:
    """What HIP reports of a device. arch is bare ('gfx942'); lds_bytes: LDS that one workgroup may use."""

    name: str
    arch: str
    target: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
    l2_cache_bytes: int
    memory_bytes: int
    runtime: str
    hip_version: str
    driver_version: str


def device_count() -> int:
    """How many devices the runtime has. Raises HipError, for none as well."""
    return int(checked("hipGetDeviceCount"))


def runtime_version() -> str:
    """HIP's version, '7.2.53211'; of the library, so it needs no device."""
    return _version(int(checked("hipRuntimeGetVersion")))


def driver_version(runtime: str) -> str:
    """The kernel driver's version: for AMD amdgpu's, '6.16.6', which HIP does not tell; else as HIP tells it."""
    return amdgpu_version() if runtime == "amd" else _version(int(checked("hipDriverGetVersion")))


def open_device(runtime: str | None = None, ordinal: int = 0) -> "Device":
    """The device `ordinal` of the runtime (see libraries.choose). Raises HipError, RuntimeLibraryError."""
    chosen = libraries.choose(runtime)
    count = device_count()
    libraries.check_mapped()
    if not 0 <= ordinal < count:
        raise HipError("hipSetDevice", 101, "hipErrorInvalidDevice", f"device {ordinal} of {count} was asked for")
    checked("hipSetDevice", ordinal)
    return Device(ordinal, _properties(chosen.runtime, ordinal))


def _properties(runtime: str, ordinal: int) -> DeviceProperties:
    hip = hip_module()
    # hip-python 10 returns the struct, earlier ones fill the caller's.
    try:
        properties = checked("hipGetDeviceProperties", ordinal)
    except TypeError:
        properties = hip.hipDeviceProp_t()
        checked("hipGetDeviceProperties", properties, ordinal)
    target = _text(properties.gcnArchName)
    return DeviceProperties(
        name=_text(properties.name),
        arch=parse_gcn_arch_name(target),
        target=target,
        compute_units=int(properties.multiProcessorCount),
        wavefront_size=int(properties.warpSize),
        lds_bytes=int(properties.sharedMemPerBlock),
        l2_cache_bytes=int(properties.l2CacheSize),
        memory_bytes=int(properties.totalGlobalMem),
        runtime=runtime,
        hip_version=runtime_version(),
        driver_version=driver_version(runtime),
    )


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _version(value: int) -> str:
    """HIP's version number in words: 70253211 is 7.2.53211."""
    return f"{value // 10_000_000}.{value // 100_000 % 100}.{value % 100_000}"


class Resource:
    """What a HIP call has made and another one gives back: by `destroy`, or after `with`."""

    def destroy(self) -> None:
        """Give it back; a second call does nothing. Raise HipError."""
        raise NotImplementedError

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.destroy()
        except HipError:
            if error is None:  # else what happened first is what to tell
                raise


class _Handle(Resource):
    """A resource behind one of HIP's handles. handle: what HIP's calls take, None once it was destroyed."""

    _DESTROYING: ClassVar[str]
    """HIP's call."""

    handle: Any = None

    def destroy(self) -> None:
        """Give it back; a second call does nothing. Raise HipError."""
        handle, self.handle = self.handle, None
        if handle is not None:
            checked(self._DESTROYING, handle)


class Buffer(Resource):
    """Device memory. pointer: its address (0 for no bytes); nbytes: its size."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.pointer = int(checked("hipMalloc", nbytes)) if nbytes else 0

    def write(self, array: npt.NDArray[Any], offset: int = 0) -> None:
        """Copies `array` to the bytes from `offset` on and waits for it."""
        data = np.ascontiguousarray(array)
        self._check_range(offset, data.nbytes)
        if data.nbytes:
            kind = hip_module().hipMemcpyKind.hipMemcpyHostToDevice
            checked("hipMemcpy", self.pointer + offset, data.ctypes.data, data.nbytes, kind)

    def read(self, dtype: type[Scalar], count: int, offset: int = 0) -> npt.NDArray[Scalar]:
        """`count` elements from byte `offset` on, copied to the host after all earlier work."""
        result = np.empty(count, dtype)
        self._check_range(offset, result.nbytes)
        if result.nbytes:
            kind = hip_module().hipMemcpyKind.hipMemcpyDeviceToHost
            checked("hipMemcpy", result.ctypes.data, self.pointer + offset, result.nbytes, kind)
        return result

    def fill(self, byte: int) -> None:
        """Sets every byte and waits for it."""
        if self.nbytes:
            checked("hipMemset", self.pointer, byte, self.nbytes)
            checked("hipDeviceSynchronize")

    def destroy(self) -> None:
        """Free the memory; a second call does nothing. Raise HipError."""
        pointer, self.pointer = self.pointer, 0
        if pointer:
            checked("hipFree", pointer)

    def _check_range(self, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"bytes {offset} to {offset + nbytes} are outside a buffer of {self.nbytes} bytes")


class Stream(_Handle):
    """A stream of launches and copies that run in order."""

    _DESTROYING = "hipStreamDestroy"

    def __init__(self) -> None:
        non_blocking = 1
        self.handle = checked("hipStreamCreateWithFlags", non_blocking)

    def synchronize(self) -> None:
        """Waits for all work given to the stream."""
        checked("hipStreamSynchronize", self.handle)

    def memset(self, buffer: Buffer, byte: int, nbytes: int) -> None:
        """Sets the first `nbytes` bytes of `buffer`, in the stream's order."""
        checked("hipMemsetAsync", buffer.pointer, byte, nbytes, self.handle)


class BorrowedStream(Stream):
    """A stream that someone else made and keeps, known by its handle; 0 is the default stream."""

    def __init__(self, handle: int) -> None:
        # As hip-python's own type: it would make one at each call otherwise.
        self.handle = hip_module().ihipStream_t.fromObj(handle)

    def destroy(self) -> None:
        """Do nothing: it is its owner's."""

    def is_capturing(self) -> bool:
        """Whether what is given to the stream is recorded into a graph instead of being run."""
        return int(checked("hipStreamIsCapturing", self.handle)) == _CAPTURING


class Event(_Handle):
    """A point in a stream whose time can be read."""

    _DESTROYING = "hipEventDestroy"

    def __init__(self) -> None:
        self.handle = checked("hipEventCreate")

    def record(self, stream: Stream) -> None:
        """Marks the point behind all work given to `stream` so far."""
        checked("hipEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """Waits until the point is reached."""
        checked("hipEventSynchronize", self.handle)


def elapsed_us(start: Event, stop: Event) -> float:
    """Microseconds between two points; `stop` must be synchronized."""
    return float(checked("hipEventElapsedTime", start.handle, stop.handle)) * 1000.0


class Kernel:
    """A function of a module, launched with one argument block by value."""

    def __init__(self, name: str, handle: object) -> None:
        self.name = name
        self.handle = handle

    def prepare(self, *, grid: int, block: int, lds_bytes: int, arguments: ctypes.Structure) -> "PreparedLaunch":
        """A launch whose arguments are laid out once, so that launching costs little."""
        return PreparedLaunch(self, grid, block, lds_bytes, arguments)


class PreparedLaunch:
    """One launch, ready to be given to a stream any number of times. It keeps its own copy of the arguments."""

    def __init__(self, kernel: Kernel, grid: int, block: int, lds_bytes: int, arguments: ctypes.Structure) -> None:
        self.kernel = kernel
        self.grid = grid
        self.block = block
        self.lds_bytes = lds_bytes
        self.arguments = type(arguments).from_buffer_copy(arguments)

    @functools.cached_property
    def _launch(self) -> Callable[[object], tuple[Any]]:
        """hipModuleLaunchKernel with all that it takes but the stream, looked up and converted once."""
        parameters, extra = bindings.launch_types()
        # hip-python keeps the array's address alone, and the array that of the arguments.
        self._pointers = (ctypes.c_void_p * 1)(ctypes.addressof(self.arguments))
        behind = parameters.fromObj(ctypes.addressof(self._pointers)), extra.fromObj(None)
        before = self.kernel.handle, self.grid, 1, 1, self.block, 1, 1, self.lds_bytes
        call = hip_module().hipModuleLaunchKernel
        return lambda stream: call(*before, stream, *behind)

    def launch(self, stream: Stream) -> None:
        """Gives the launch to `stream`. Raises HipError where it is refused."""
        try:
            (code,) = self._launch(stream.handle)
        except (RuntimeError, AttributeError) as error:
            raise missing_call("hipModuleLaunchKernel", error) from error
        if code:
            raise failed_call("hipModuleLaunchKernel", int(code), code.name)


class Module(_Handle):
    """Loaded device code. Its kernels are gone with it."""

    _DESTROYING = "hipModuleUnload"

    def __init__(self, code: bytes) -> None:
        self._code = code
        self.handle = checked("hipModuleLoadData", code)

    def kernel(self, name: str) -> Kernel:
        """The kernel called `name`. Raises HipError where the code has none."""
        return Kernel(name, checked("hipModuleGetFunction", self.handle, name.encode()))


class Graph(_Handle):
    """Captured work, instantiated, that a stream replays as one."""

    _DESTROYING = "hipGraphExecDestroy"

    def __init__(self, stream: Stream, work: Callable[[Stream], None]) -> None:
        graph = _captured(stream, work)
        try:
            self.handle = checked("hipGraphInstantiateWithFlags", graph, 0)
        finally:
            checked("hipGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Gives one replay to `stream`."""
        checked("hipGraphLaunch", self.handle, stream.handle)


def _captured(stream: Stream, work: Callable[[Stream], None]) -> Any:
    """Return HIP's graph of what `work` gives to `stream`, which ends its capture whatever happens."""
    relaxed = hip_module().hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    checked("hipStreamBeginCapture", stream.handle, relaxed)
    try:
        work(stream)
    except BaseException:
        with contextlib.suppress(HipError):  # what the work met is what to tell
            checked("hipGraphDestroy", checked("hipStreamEndCapture", stream.handle))
        raise
    return checked("hipStreamEndCapture", stream.handle)


class Device:
    """The current device of this process."""

    def __init__(self, ordinal: int, properties: DeviceProperties) -> None:
        self.ordinal = ordinal
        self.properties = properties

    def allocate(self, nbytes: int) -> Buffer:
        """`nbytes` bytes of device memory."""
        return Buffer(nbytes)

    def stream(self) -> Stream:
        """A new stream."""
        return Stream()

    def event(self) -> Event:
        """A new event."""
        return Event()

    def load(self, code: bytes) -> Module:
        """Loads device code made for this device."""
        return Module(code)

    def capture(self, stream: Stream, work: Callable[[Stream], None]) -> Graph:
        """A graph of what `work` gives to `stream`. Nothing may be allocated in it."""
        return Graph(stream, work)

    def synchronize(self) -> None:
        """Waits for all work on the device."""
        checked("hipDeviceSynchronize")


def compile_source(*, name: str, source: bytes, headers: dict[str, bytes], options: Sequence[str]) -> bytes:
    """Device code of one source by hiprtc. headers: {name as included: text}. Raises HipError with the compiler's log.

    Run it in a child process: old hiprtc versions abort the process for a target that they do not know.
    """
    texts, names = list(headers.values()), [header.encode() for header in headers]
    program = checked("hiprtcCreateProgram", source, name.encode(), len(texts), texts, names)
    try:
        return _compiled(program, [option.encode() for option in options])
    finally:
        place = ctypes.c_void_p(int(program))
        checked("hiprtcDestroyProgram", ctypes.addressof(place))


def _compiled(program: Any, options: list[bytes]) -> bytes:
    try:
        checked("hiprtcCompileProgram", program, len(options), options)
    except HipError as error:
        raise HipError(error.call, error.code, error.name, _program_log(program)) from error
    code = bytearray(int(checked("hiprtcGetCodeSize", program)))
    checked("hiprtcGetCode", program, code)
    return bytes(code)


def _program_log(program: object) -> str:
    log = bytearray(int(checked("hiprtcGetProgramLogSize", program)))
    checked("hiprtcGetProgramLog", program, log)
    return log.rstrip(b"\0").decode(errors="replace").strip()


def compiler_version() -> str:
    """Version of hiprtc, 'major.minor'."""
    major, minor = checked("hiprtcVersion")
    return f"{major}.{minor}"
