"""The child process of probing.py: writes what one HIP runtime answers as JSON. A broken driver may crash it.

python -m moesort_tune.doctor.device_worker amd|cuda|host [KERNELS]
KERNELS: the Kernels that shall be looked for in the cache, as JSON.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import msgspec

from moesort_tune.device import amd_libraries, code_objects, compiler, hip, libraries
from moesort_tune.device.remedies import DeviceError
from moesort_tune.doctor.diagnosis import DeviceState, Failure, RuntimeState
from moesort_tune.errors import MoesortTuneError

Answer = TypeVar("Answer")

NEEDED_CALLS = (
    "hipGetDevicePropertiesR0600",
    "hipGraphInstantiateWithFlags",
    "hipModuleLaunchKernel",
    "hipModuleLoadData",
    "hipStreamBeginCapture",
)
"""Calls that tell a HIP that is new enough: the first is of HIP 6.0, the last to come."""


@dataclass(frozen=True)
class Kernels:
    """What a sweep loads. files: of the kernels' folder; revisions: {arch: revision of the builtin kernels}."""

    files: tuple[str, ...] = ()
    revisions: Mapping[str, str] = field(default_factory=dict)


def main(runtime: str, kernels: str = "{}") -> None:
    """Writes the RuntimeState of `runtime` to standard output."""
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what a driver prints must not get into the answer
        output.write(msgspec.json.encode(asdict(state(runtime, msgspec.json.decode(kernels, type=Kernels)))))


def state(runtime: str, kernels: Kernels = Kernels()) -> RuntimeState:
    """What the runtime answers, with each failure in its place."""
    version, failure = attempt(lambda: _version(runtime))
    if failure:
        return RuntimeState(runtime, library=_library(), failure=failure)
    missing = _missing_calls()
    devices, failure = ((), None) if missing else attempt(_devices)
    compiler, compiler_failure = attempt(lambda: f"hiprtc {hip.compiler_version()}")
    return RuntimeState(
        name=runtime,
        library=_library(),
        hip_version=version or "",
        driver_version=attempt(lambda: hip.driver_version(runtime))[0] or "",
        compiler=compiler or "",
        devices=devices or (),
        failure=failure,
        compiler_failure=compiler_failure,
        missing_calls=missing,
        is_compiled=bool(attempt(lambda: all(_is_compiled(kernels, device.arch) for device in devices or ()))[0]),
    )


def _is_compiled(kernels: Kernels, arch: str) -> bool:
    """Whether the kernels for `arch` were compiled before, ahead of time or at run time."""
    revision = kernels.revisions.get(arch)
    if revision is None:
        return False
    if code_objects.find_prebuilt(arch, revision) is not None:
        return True
    return all(compiler.is_compiled(compiler.Unit(file, arch)) for file in kernels.files)


def attempt(question: Callable[[], Answer]) -> tuple[Answer | None, Failure | None]:
    """The answer or the failure."""
    try:
        return question(), None
    except DeviceError as error:
        return None, Failure(error.what, error.remedy)
    except MoesortTuneError as error:
        return None, Failure(str(error))


def _version(runtime: str) -> str:
    libraries.choose(runtime)
    version = hip.runtime_version()
    libraries.check_mapped()
    return version


def _library() -> str:
    """The file that was opened, else the one that was to be opened."""
    chosen = libraries.chosen()
    return next(iter(amd_libraries.mapped("amdhip64")), chosen.hip if chosen else "")


def _missing_calls() -> tuple[str, ...]:
    library = ctypes.CDLL(libraries.choose().hip)
    return tuple(call for call in NEEDED_CALLS if not hasattr(library, call))


def _devices() -> tuple[DeviceState, ...]:
    return tuple(_device(ordinal) for ordinal in range(hip.device_count()))


def _device(ordinal: int) -> DeviceState:
    properties = hip.open_device(ordinal=ordinal).properties
    return DeviceState(
        ordinal=ordinal,
        name=properties.name,
        arch=properties.arch,
        target=properties.target,
        compute_units=properties.compute_units,
        wavefront_size=properties.wavefront_size,
        lds_bytes=properties.lds_bytes,
        memory_bytes=properties.memory_bytes,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
