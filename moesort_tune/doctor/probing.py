"""Inspection of this machine: installed software, each HIP runtime's state, compilers."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec

from moesort_tune.device import ahead_of_time, amd_libraries, cache, child, installed, native_library
from moesort_tune.device.child import ChildError
from moesort_tune.device.libraries import RUNTIMES
from moesort_tune.device.machine import Machine, inspect_machine
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor.device_worker import Kernels, attempt
from moesort_tune.doctor.diagnosis import CacheState, CompilerState, Failure, RuntimeState, State, TableState

ANSWER_SECONDS = native_library.BUILD_SECONDS + 60
"""Time limit of an answer: a runtime of our own is built first; a driver that hangs is stopped at the same limit."""

_ABSENT = {
    "amd": Failure("not present: no /dev/kfd and no ROCm", REMEDIES["no kfd"]),
    "cuda": Failure("not present: no NVIDIA driver", REMEDIES["no NVIDIA device"]),
}


def probe(tables: tuple[TableState, ...], kernels: Kernels, notify: Callable[[str], None]) -> State:
    """Return the state of this machine.

    kernels: those that a sweep loads; notify: called with a description before each step that may take seconds.
    """
    machine = inspect_machine()
    rocm = tuple(copy for copy in amd_libraries.find_candidates("amdhip64") if copy.origin != amd_libraries.UNRESOLVED)
    return State(
        machine=machine,
        runtimes=tuple(
            _probe_runtime(name, machine, kernels, rocm_is_there=bool(rocm), notify=notify) for name in RUNTIMES
        ),
        compilers=(find_host_compiler(), find_offload_compiler()),
        rocm=rocm,
        cache=probe_cache(),
        hip_python=installed.find_hip_python(),
        torch=installed.find_torch(),
        aiter=installed.find_aiter(),
        tables=tables,
        revisions=kernels.revisions,
        align_revisions=kernels.align_revisions,
    )


def _probe_runtime(
    name: str, machine: Machine, kernels: Kernels, *, rocm_is_there: bool, notify: Callable[[str], None]
) -> RuntimeState:
    if name == "amd" and not (machine.kfd or machine.forbidden or machine.broken or rocm_is_there):
        return RuntimeState(name, failure=_ABSENT[name])
    if name == "cuda" and not machine.nvidia:
        return RuntimeState(name, failure=_ABSENT[name])
    notify(f"asking the {name} runtime for its devices")
    wanted = msgspec.json.encode(asdict(kernels)).decode()
    return ask(child.build_python_command("moesort_tune.doctor.device_worker", name, wanted), name)


def ask(command: list[str], runtime: str, seconds: float = ANSWER_SECONDS) -> RuntimeState:
    """Return a child process's answer for `runtime`; a child that crashes or hangs is a failure of the runtime."""
    try:
        answer = child.run(command, seconds=seconds)
    except ChildError as error:
        return _make_failure(runtime, f"the process that lists its devices {error}")
    last = answer.words.rpartition("\n")[2]
    because = f": {last}" if last else ""
    if answer.status != 0:
        return _make_failure(
            runtime, f"the process that lists its devices {child.describe_exit(answer.status)}{because}"
        )
    try:
        return msgspec.json.decode(answer.stdout, type=RuntimeState)
    except msgspec.MsgspecError:
        return _make_failure(runtime, f"the process that lists its devices ended without an answer{because}")


def _make_failure(runtime: str, what: str) -> RuntimeState:
    return RuntimeState(runtime, failure=Failure(what, REMEDIES["runtime died"]))


def find_host_compiler() -> CompilerState:
    """Return the compiler that builds the host runtime."""
    compiler, failure = attempt(lambda: native_library.find_compiler(native_library.RECIPES["host"]))
    if compiler is None:
        return CompilerState("host runtime", failure=failure)
    return CompilerState("host runtime", child.make_printable(" ".join(compiler.command)), compiler.version)


def find_offload_compiler() -> CompilerState:
    """Return the compiler that builds code objects for AMD GPUs."""
    compiler, failure = attempt(ahead_of_time.find_compiler)
    if compiler is None:
        return CompilerState("ahead of time", failure=failure)
    return CompilerState("ahead of time", child.make_printable(compiler.path), compiler.version)


def probe_cache() -> CacheState:
    """Return the state of the cache folder, tested by writing."""
    folder, failure = attempt(cache.open_folder)
    if folder is None:
        return CacheState("", failure)
    folders = [path for path in (folder, folder / "runtimes", folder / "code") if path.is_dir()]
    return CacheState(str(folder), next(filter(None, map(_try_write, folders)), None), is_readable=True)


def _try_write(folder: Path) -> Failure | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return None
    except OSError as error:
        return Failure(f"cannot write into {folder} ({error.strerror})", REMEDIES["cache not writable"])
