"""Device code for a target: from the cache, else compiled by hiprtc in a child process."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from moesort_tune.device import cache, child, libraries, native_library, sources
from moesort_tune.device.child import ChildError
from moesort_tune.device.remedies import REMEDIES, DeviceError

COMPILE_SECONDS = 300


class CompileError(DeviceError):
    """hiprtc is missing, refused the source, or died."""


@dataclass(frozen=True)
class Unit:
    """One source to compile. file: its name in the kernels' folder; target: 'gfx942', 'sm_90', 'host'."""

    file: str
    target: str

    @property
    def options(self) -> tuple[str, ...]:
        return (f"--offload-arch={self.target}", "-std=c++17", "-O3")


def code_for(unit: Unit) -> bytes:
    """Device code of `unit`, ready to be loaded.

    Raises CompileError with the compiler's words, CacheError, UntrustedError.
    """
    return cache.get(_place(unit), lambda: compile_in_child(unit))


def is_compiled(unit: Unit) -> bool:
    """Whether the code of `unit` is in the cache. Raises what code_for raises."""
    return cache.read(_place(unit)) is not None


def _place(unit: Unit) -> Path:
    return cache.cache_folder() / "code" / f"{unit.target}-{Path(unit.file).stem}-{_key(unit)}"


def compile_in_child(unit: Unit) -> bytes:
    """Compiles `unit` by hiprtc in another process, which may abort without taking this one along."""
    chosen = libraries.choose()
    request = json.dumps({"libraries": asdict(chosen), "unit": asdict(unit)})
    try:
        answer = child.run(
            child.python("moesort_tune.device.compile_worker"), stdin=request.encode(), seconds=COMPILE_SECONDS
        )
    except ChildError as error:
        raise CompileError(f"hiprtc ({chosen.hiprtc}), compiling {unit.file} for {unit.target}, {error}") from error
    if answer.status == 0 and answer.stdout:
        return answer.stdout
    if answer.status > 0:
        raise CompileError(f"{unit.file} could not be compiled for {unit.target}: {answer.words}")
    ending = answer.ending if answer.status else "ended without a result"
    raise CompileError(
        f"hiprtc ({chosen.hiprtc}), compiling {unit.file} for {unit.target}, {ending}", REMEDIES["compiler died"]
    )


def _key(unit: Unit) -> str:
    chosen = libraries.choose()
    texts = [part for name, text in sorted(sources.headers(unit.target).items()) for part in (name, text)]
    return cache.cache_key(*unit.options, *texts, sources.source(unit.file), _compiler_identity(chosen))


def _compiler_identity(chosen: libraries.RuntimeLibraries) -> str:
    """What makes device code of one compiler different from another's: its file, and the compiler behind it."""
    path = Path(chosen.hiprtc)
    if chosen.runtime != "amd":
        # The folder's name is the key of its sources and compiler: wherever the cache was copied to, it stays the same.
        identity = path.parent.name
    else:
        status = path.stat() if path.exists() else None
        identity = f"{path} {status.st_size} {status.st_mtime_ns}" if status else str(path)
    if chosen.runtime == "host":
        compiler = native_library.building_compiler(native_library.RECIPES["host"])
        build_variables = {name: value for name, value in os.environ.items() if name in _HOST_BUILD_VARIABLES}
        identity += f" {compiler.command} {compiler.version} {sorted(build_variables.items())}"
    return identity


_HOST_BUILD_VARIABLES = ("MOESORT_HOST_CHECK", "MOESORT_HOST_WAVEFRONT_SIZE")
"""Variables of the host runtime that change the code that its hiprtc makes."""
