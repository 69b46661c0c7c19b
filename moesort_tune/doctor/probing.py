"""Looks at this machine: what is installed, what each HIP runtime answers, which compilers there are."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec

from moesort_tune.device import ahead_of_time, amd_libraries, cache, child, installed, native_library
from moesort_tune.device.child import ChildError
from moesort_tune.device.libraries import RUNTIMES
from moesort_tune.device.machine import Machine, this_machine
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor.device_worker import Kernels, attempt
from moesort_tune.doctor.diagnosis import CacheState, CompilerState, Failure, RuntimeState, State, TableState

ANSWER_SECONDS = native_library.BUILD_SECONDS + 60
"""A runtime of our own is built before its first answer; a driver that hangs is given up at the same time."""

_ABSENT = {
    "amd": Failure("not here: no /dev/kfd and no ROCm", REMEDIES["no kfd"]),
    "cuda": Failure("not here: no NVIDIA driver", REMEDIES["no NVIDIA device"]),
}


def look(tables: tuple[TableState, ...], kernels: Kernels, notify: Callable[[str], None]) -> State:
    """The state of this machine.

    kernels: those that a sweep loads; notify: called with what is looked at, before what may take seconds.
    """
    machine = this_machine()
    rocm = tuple(copy for copy in amd_libraries.candidates("amdhip64") if copy.origin != amd_libraries.UNRESOLVED)
    return State(
        machine=machine,
        runtimes=tuple(_runtime(name, machine, kernels, rocm_is_there=bool(rocm), notify=notify) for name in RUNTIMES),
        compilers=(host_compiler(), offload_compiler()),
        rocm=rocm,
        cache=cache_state(),
        hip_python=installed.hip_python_package(),
        torch=installed.torch_package(),
        aiter=installed.aiter_package(),
        tables=tables,
        revisions=kernels.revisions,
    )


def _runtime(
    name: str, machine: Machine, kernels: Kernels, *, rocm_is_there: bool, notify: Callable[[str], None]
) -> RuntimeState:
    if name == "amd" and not (machine.kfd or machine.forbidden or machine.broken or rocm_is_there):
        return RuntimeState(name, failure=_ABSENT[name])
    if name == "cuda" and not machine.nvidia:
        return RuntimeState(name, failure=_ABSENT[name])
    notify(f"asking the {name} runtime for its devices")
    wanted = msgspec.json.encode(asdict(kernels)).decode()
    return ask(child.python("moesort_tune.doctor.device_worker", name, wanted), name)


def ask(command: list[str], runtime: str, seconds: float = ANSWER_SECONDS) -> RuntimeState:
    """What a child process answers for `runtime`; a child that dies or hangs is a failure of the runtime."""
    try:
        answer = child.run(command, seconds=seconds)
    except ChildError as error:
        return _failed(runtime, f"asked for its devices, its process {error}")
    last = answer.words.rpartition("\n")[2]
    because = f": {last}" if last else ""
    if answer.status != 0:
        return _failed(runtime, f"asked for its devices, its process {child.describe_exit(answer.status)}{because}")
    try:
        return msgspec.json.decode(answer.stdout, type=RuntimeState)
    except msgspec.MsgspecError:
        return _failed(runtime, f"asked for its devices, its process ended without an answer{because}")


def _failed(runtime: str, what: str) -> RuntimeState:
    return RuntimeState(runtime, failure=Failure(what, REMEDIES["runtime died"]))


def host_compiler() -> CompilerState:
    """The compiler that builds the host runtime."""
    compiler, failure = attempt(lambda: native_library.find_compiler(native_library.RECIPES["host"]))
    if compiler is None:
        return CompilerState("host runtime", failure=failure)
    return CompilerState("host runtime", child.printable(" ".join(compiler.command)), compiler.version)


def offload_compiler() -> CompilerState:
    """The compiler that builds code objects for AMD GPUs."""
    compiler, failure = attempt(ahead_of_time.find_compiler)
    if compiler is None:
        return CompilerState("ahead of time", failure=failure)
    return CompilerState("ahead of time", child.printable(compiler.path), compiler.version)


def cache_state() -> CacheState:
    """The cache folder, tried out by writing."""
    folder, failure = attempt(cache.cache_folder)
    if folder is None:
        return CacheState("", failure)
    folders = [path for path in (folder, folder / "runtimes", folder / "code") if path.is_dir()]
    return CacheState(str(folder), next(filter(None, map(_try_writing, folders)), None), is_readable=True)


def _try_writing(folder: Path) -> Failure | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return None
    except OSError as error:
        return Failure(f"cannot write into {folder} ({error.strerror})", REMEDIES["cache not writable"])
