"""The child process of probing.py: writes one HIP runtime's state as JSON. A broken driver may crash it.

python -m moesort_tune.doctor.device_worker amd|cuda|host [KERNELS]
KERNELS: the Kernels to look up in the cache, as JSON.
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
"""Calls that prove a HIP new enough: the first, of HIP 6.0, was the last of them to be added."""


@dataclass(frozen=True)
class Kernels:
    """A sweep's kernels. files: in the kernels' folder; revisions: {arch: revision of the builtin kernels}.

    align_revisions: those of the align form.
    """

    files: tuple[str, ...] = ()
    revisions: Mapping[str, str] = field(default_factory=dict)
    align_revisions: Mapping[str, str] = field(default_factory=dict)


def main(runtime: str, kernels: str = "{}") -> None:
    """Write the RuntimeState of `runtime` to standard output."""
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # keeps a driver's output out of the answer
        output.write(msgspec.json.encode(asdict(inspect_runtime(runtime, msgspec.json.decode(kernels, type=Kernels)))))


def inspect_runtime(runtime: str, kernels: Kernels = Kernels()) -> RuntimeState:
    """Return the runtime's state, with each failure in its own field."""
    version, failure = attempt(lambda: _read_version(runtime))
    if failure:
        return RuntimeState(runtime, library=_find_library(), failure=failure)
    missing = _find_missing_calls()
    devices, failure = ((), None) if missing else attempt(_list_devices)
    compiler, compiler_failure = attempt(lambda: f"hiprtc {hip.get_compiler_version()}")
    return RuntimeState(
        name=runtime,
        library=_find_library(),
        hip_version=version or "",
        driver_version=attempt(lambda: hip.get_driver_version(runtime))[0] or "",
        compiler=compiler or "",
        devices=devices or (),
        failure=failure,
        compiler_failure=compiler_failure,
        missing_calls=missing,
        is_compiled=bool(attempt(lambda: all(_is_compiled(kernels, device.arch) for device in devices or ()))[0]),
    )


def _is_compiled(kernels: Kernels, arch: str) -> bool:
    """Return whether the kernels for `arch` are already compiled, ahead of time or at run time."""
    revision = kernels.revisions.get(arch)
    if revision is None:
        return False
    if code_objects.find_prebuilt(arch, revision) is not None:
        return True
    return all(compiler.is_compiled(compiler.Unit(file, arch)) for file in kernels.files)


def attempt(question: Callable[[], Answer]) -> tuple[Answer | None, Failure | None]:
    """Return the answer to `question`, or the failure."""
    try:
        return question(), None
    except DeviceError as error:
        return None, Failure(error.what, error.remedy)
    except MoesortTuneError as error:
        return None, Failure(str(error))


def _read_version(runtime: str) -> str:
    libraries.choose(runtime)
    version = hip.get_runtime_version()
    libraries.check_mapped()
    return version


def _find_library() -> str:
    """Return the file that was opened, else the one chosen to be opened."""
    chosen = libraries.get_chosen()
    return next(iter(amd_libraries.find_mapped("amdhip64")), chosen.hip if chosen else "")


def _find_missing_calls() -> tuple[str, ...]:
    library = ctypes.CDLL(libraries.choose().hip)
    return tuple(call for call in NEEDED_CALLS if not hasattr(library, call))


def _list_devices() -> tuple[DeviceState, ...]:
    return tuple(_describe_device(ordinal) for ordinal in range(hip.count_devices()))


def _describe_device(ordinal: int) -> DeviceState:
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
        device_id=properties.device_id,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
