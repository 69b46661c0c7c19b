"""HIP through hip-python: devices, memory, streams, events, modules, launches, graphs, run-time compilation.

Resources are released by `destroy`, or at the end of a `with`.
"""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from moesort_tune.device import bindings, hip_calls, libraries, properties
from moesort_tune.device.hip_calls import import_hip, make_call_error, make_missing_call_error

Scalar = TypeVar("Scalar", bound=np.generic)
Own = TypeVar("Own", bound="Resource")

HipError = hip_calls.HipError
call = hip_calls.call
DeviceProperties = properties.DeviceProperties
get_runtime_version = properties.get_runtime_version
get_driver_version = properties.get_driver_version

_CAPTURING = 1
"""hipStreamCaptureStatusActive."""


def count_devices() -> int:
    """Return the number of the runtime's devices. Raise HipError, also where there is none."""
    return int(call("hipGetDeviceCount"))


def open_device(runtime: str | None = None, ordinal: int = 0) -> "Device":
    """Return device `ordinal` of the runtime (see libraries.choose). Raise HipError, RuntimeLibraryError."""
    chosen = libraries.choose(runtime)
    count = count_devices()
    libraries.check_mapped()
    if not 0 <= ordinal < count:
        raise HipError(
            "hipSetDevice", 101, "hipErrorInvalidDevice", f"there is no device {ordinal}, only {count} in all"
        )
    call("hipSetDevice", ordinal)
    return Device(ordinal, properties.read_properties(chosen.runtime, ordinal))


class Resource:
    """A HIP resource, released by `destroy` or at the end of a `with`."""

    def destroy(self) -> None:
        """Release the resource; a second call does nothing. Raise HipError."""
        raise NotImplementedError

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.destroy()
        except HipError:
            if error is None:  # else the first error is the one to report
                raise


class _Handle(Resource):
    """A resource behind a HIP handle. handle: the argument of HIP's calls, None once destroyed."""

    _DESTROYING: ClassVar[str]
    """Name of the HIP call that destroys the handle."""

    handle: Any = None

    def destroy(self) -> None:
        """Release the resource; a second call does nothing. Raise HipError."""
        handle, self.handle = self.handle, None
        if handle is not None:
            call(self._DESTROYING, handle)


class Buffer(Resource):
    """Device memory. pointer: its address (0 for no bytes); nbytes: its size."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.pointer = int(call("hipMalloc", nbytes)) if nbytes else 0

    def write(self, array: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy `array` to the bytes from `offset` on and wait for the copy."""
        data = np.ascontiguousarray(array)
        self._check_range(offset, data.nbytes)
        if data.nbytes:
            kind = import_hip().hipMemcpyKind.hipMemcpyHostToDevice
            call("hipMemcpy", self.pointer + offset, data.ctypes.data, data.nbytes, kind)

    def read(self, dtype: type[Scalar], count: int, offset: int = 0) -> npt.NDArray[Scalar]:
        """Return `count` elements from byte `offset` on, copied to the host after all earlier work."""
        result = np.empty(count, dtype)
        self._check_range(offset, result.nbytes)
        if result.nbytes:
            kind = import_hip().hipMemcpyKind.hipMemcpyDeviceToHost
            call("hipMemcpy", result.ctypes.data, self.pointer + offset, result.nbytes, kind)
        return result

    def read_into(self, memory: "PinnedMemory", nbytes: int, offset: int = 0) -> npt.NDArray[np.uint8]:
        """Return `nbytes` bytes from byte `offset` on, copied to the beginning of `memory` after all earlier work."""
        self._check_range(offset, nbytes)
        result = memory.array[:nbytes]
        if nbytes:
            kind = import_hip().hipMemcpyKind.hipMemcpyDeviceToHost
            call("hipMemcpy", result.ctypes.data, self.pointer + offset, nbytes, kind)
        return result

    def fill(self, byte: int) -> None:
        """Set every byte and wait for it."""
        if self.nbytes:
            call("hipMemset", self.pointer, byte, self.nbytes)
            call("hipDeviceSynchronize")

    def destroy(self) -> None:
        """Free the memory; a second call does nothing. Raise HipError."""
        pointer, self.pointer = self.pointer, 0
        if pointer:
            call("hipFree", pointer)

    def _check_range(self, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"bytes {offset} to {offset + nbytes} are outside a buffer of {self.nbytes} bytes")


class PinnedMemory(Resource):
    """Host memory that stays where it is, to which a device copies several times as fast. array: its bytes."""

    def __init__(self, nbytes: int) -> None:
        self._pointer = int(call("hipHostMalloc", nbytes, 0))
        self.array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(self._pointer))

    def destroy(self) -> None:
        """Free the memory; a second call does nothing. Raise HipError."""
        pointer, self._pointer = self._pointer, 0
        if pointer:
            call("hipHostFree", pointer)


class Stream(_Handle):
    """A stream of launches and copies that run in order."""

    _DESTROYING = "hipStreamDestroy"

    def __init__(self) -> None:
        non_blocking = 1
        self.handle = call("hipStreamCreateWithFlags", non_blocking)

    def synchronize(self) -> None:
        """Wait for all work enqueued on the stream."""
        call("hipStreamSynchronize", self.handle)

    def memset(self, buffer: Buffer, byte: int, nbytes: int) -> None:
        """Enqueue setting the first `nbytes` bytes of `buffer`."""
        call("hipMemsetAsync", buffer.pointer, byte, nbytes, self.handle)


class BorrowedStream(Stream):
    """A stream that another owner created and will destroy, given by its handle; 0 is the default stream."""

    def __init__(self, handle: int) -> None:
        # hip-python's own type; a plain integer would be converted at each call.
        self.handle = import_hip().ihipStream_t.fromObj(handle)

    def destroy(self) -> None:
        """Do nothing: the owner destroys the stream."""

    def is_capturing(self) -> bool:
        """Return whether work enqueued on the stream is captured into a graph instead of being run."""
        return int(call("hipStreamIsCapturing", self.handle)) == _CAPTURING


class Event(_Handle):
    """A point in a stream whose time can be read."""

    _DESTROYING = "hipEventDestroy"

    def __init__(self) -> None:
        self.handle = call("hipEventCreate")

    def record(self, stream: Stream) -> None:
        """Mark the point after all work enqueued on `stream` so far."""
        call("hipEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """Wait until the point is reached."""
        call("hipEventSynchronize", self.handle)


def get_elapsed_us(start: Event, stop: Event) -> float:
    """Return the microseconds between two points; `stop` must be synchronized."""
    return float(call("hipEventElapsedTime", start.handle, stop.handle)) * 1000.0


class Kernel:
    """A function of a module, launched with one argument block by value."""

    def __init__(self, name: str, handle: object) -> None:
        self.name = name
        self.handle = handle

    def prepare(self, *, grid: int, block: int, lds_bytes: int, arguments: ctypes.Structure) -> "PreparedLaunch":
        """Return a launch whose arguments are laid out once, so that each launch costs little."""
        return PreparedLaunch(self, grid, block, lds_bytes, arguments)


class PreparedLaunch:
    """A launch that can be enqueued any number of times. It keeps its own copy of the arguments."""

    def __init__(self, kernel: Kernel, grid: int, block: int, lds_bytes: int, arguments: ctypes.Structure) -> None:
        self.kernel = kernel
        self.grid = grid
        self.block = block
        self.lds_bytes = lds_bytes
        self.arguments = type(arguments).from_buffer_copy(arguments)

    @functools.cached_property
    def _launch(self) -> Callable[[object], tuple[Any]]:
        """hipModuleLaunchKernel with every argument but the stream looked up and converted once."""
        parameters, extra = bindings.get_launch_types()
        # hip-python keeps only the array's address, and the array only the arguments' address.
        self._pointers = (ctypes.c_void_p * 1)(ctypes.addressof(self.arguments))
        after = parameters.fromObj(ctypes.addressof(self._pointers)), extra.fromObj(None)
        before = self.kernel.handle, self.grid, 1, 1, self.block, 1, 1, self.lds_bytes
        launch_kernel = import_hip().hipModuleLaunchKernel
        return lambda stream: launch_kernel(*before, stream, *after)

    def launch(self, stream: Stream) -> None:
        """Enqueue the launch on `stream`. Raise HipError where HIP rejects it."""
        try:
            (code,) = self._launch(stream.handle)
        except (RuntimeError, AttributeError) as error:
            raise make_missing_call_error("hipModuleLaunchKernel", error) from error
        if code:
            raise make_call_error("hipModuleLaunchKernel", int(code), code.name)


class Module(_Handle):
    """Loaded device code. Its kernels are unusable once it is destroyed."""

    _DESTROYING = "hipModuleUnload"

    def __init__(self, code: bytes) -> None:
        self._code = code
        self.handle = call("hipModuleLoadData", code)

    def get_kernel(self, name: str) -> Kernel:
        """Return the kernel named `name`. Raise HipError where the code has none."""
        return Kernel(name, call("hipModuleGetFunction", self.handle, name.encode()))


class Graph(_Handle):
    """Captured and instantiated work, which a stream replays as one unit."""

    _DESTROYING = "hipGraphExecDestroy"

    def __init__(self, stream: Stream, work: Callable[[Stream], None]) -> None:
        graph = _capture(stream, work)
        try:
            self.handle = call("hipGraphInstantiateWithFlags", graph, 0)
        finally:
            call("hipGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Enqueue one replay on `stream`."""
        call("hipGraphLaunch", self.handle, stream.handle)


def _capture(stream: Stream, work: Callable[[Stream], None]) -> Any:
    """Return HIP's graph of the work that `work` enqueues on `stream`; the capture ends even on an error."""
    relaxed = import_hip().hipStreamCaptureMode.hipStreamCaptureModeRelaxed
    call("hipStreamBeginCapture", stream.handle, relaxed)
    try:
        work(stream)
    except BaseException:
        with contextlib.suppress(HipError):  # the error of the work is the one to report
            call("hipGraphDestroy", call("hipStreamEndCapture", stream.handle))
        raise
    return call("hipStreamEndCapture", stream.handle)


class Device:
    """The current device of this process."""

    def __init__(self, ordinal: int, properties: DeviceProperties) -> None:
        self.ordinal = ordinal
        self.properties = properties

    def read_used_bytes(self) -> int:
        """Return the bytes of the device's memory that are in use, by this process and all others."""
        free, total = call("hipMemGetInfo")
        return int(total) - int(free)

    def allocate(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` bytes of device memory."""
        return Buffer(nbytes)

    def create_stream(self) -> Stream:
        """Create a stream."""
        return Stream()

    def create_event(self) -> Event:
        """Create an event."""
        return Event()

    def load(self, code: bytes) -> Module:
        """Load device code that was compiled for this device."""
        return Module(code)

    def capture(self, stream: Stream, work: Callable[[Stream], None]) -> Graph:
        """Return a graph of the work that `work` enqueues on `stream`. `work` must not allocate."""
        return Graph(stream, work)

    def synchronize(self) -> None:
        """Wait for all work on the device."""
        call("hipDeviceSynchronize")


def compile_source(*, name: str, source: bytes, headers: dict[str, bytes], options: Sequence[str]) -> bytes:
    """Return device code of one source, compiled by hiprtc. headers: {name as included: text}.

    Raise HipError with the compiler's log. Run it in a child process: old hiprtc versions abort the process for an
    unknown target.
    """
    texts, names = list(headers.values()), [header.encode() for header in headers]
    program = call("hiprtcCreateProgram", source, name.encode(), len(texts), texts, names)
    try:
        return _compile(program, [option.encode() for option in options])
    finally:
        place = ctypes.c_void_p(int(program))
        call("hiprtcDestroyProgram", ctypes.addressof(place))


def _compile(program: Any, options: list[bytes]) -> bytes:
    try:
        call("hiprtcCompileProgram", program, len(options), options)
    except HipError as error:
        raise HipError(error.call, error.code, error.name, _read_program_log(program)) from error
    code = bytearray(int(call("hiprtcGetCodeSize", program)))
    call("hiprtcGetCode", program, code)
    return bytes(code)


def _read_program_log(program: object) -> str:
    log = bytearray(int(call("hiprtcGetProgramLogSize", program)))
    call("hiprtcGetProgramLog", program, log)
    return log.rstrip(b"\0").decode(errors="replace").strip()


def get_compiler_version() -> str:
    """Return the version of hiprtc, 'major.minor'."""
    major, minor = call("hiprtcVersion")
    return f"{major}.{minor}"
