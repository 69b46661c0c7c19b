"""Looks at this machine: what is installed, what each HIP runtime answers, which compilers there are."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from moesort_tune.device import ahead_of_time, amd_libraries, cache, installed, native_library
from moesort_tune.device.device_worker import attempt
from moesort_tune.device.diagnosis import CacheState, CompilerState, Failure, RuntimeState, State, TableState
from moesort_tune.device.libraries import RUNTIMES
from moesort_tune.device.machine import Machine, this_machine
from moesort_tune.device.remedies import REMEDIES

ANSWER_SECONDS = native_library.BUILD_SECONDS + 60
"""A runtime of our own is built before its first answer; a driver that hangs is given up at the same time."""

_ABSENT = {
    "amd": Failure("not here: no /dev/kfd and no ROCm", REMEDIES["no kfd"]),
    "cuda": Failure("not here: no NVIDIA driver", REMEDIES["no NVIDIA device"]),
}


def look(tables: tuple[TableState, ...], revisions: Mapping[str, str], notify: Callable[[str], None]) -> State:
    """The state of this machine. notify: called with what is looked at, before what may take seconds."""
    machine = this_machine()
    rocm = tuple(copy for copy in amd_libraries.candidates("amdhip64") if copy.origin != amd_libraries.UNRESOLVED)
    return State(
        machine=machine,
        runtimes=tuple(_runtime(name, machine, rocm_is_there=bool(rocm), notify=notify) for name in RUNTIMES),
        compilers=(host_compiler(), offload_compiler()),
        rocm=rocm,
        cache=cache_state(),
        hip_python=installed.hip_python_package(),
        torch=installed.torch_package(),
        aiter=installed.aiter_package(),
        tables=tables,
        revisions=revisions,
    )


def _runtime(name: str, machine: Machine, *, rocm_is_there: bool, notify: Callable[[str], None]) -> RuntimeState:
    if name == "amd" and not machine.kfd and not rocm_is_there:
        return RuntimeState(name, failure=_ABSENT[name])
    if name == "cuda" and not machine.nvidia:
        return RuntimeState(name, failure=_ABSENT[name])
    notify(f"asking the {name} runtime for its devices")
    return ask([sys.executable, "-m", "moesort_tune.device.device_worker", name], name)


def ask(command: list[str], runtime: str, seconds: float = ANSWER_SECONDS) -> RuntimeState:
    """What a child process answers for `runtime`; a child that dies or hangs is a failure of the runtime."""
    try:
        answer = subprocess.run(command, capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        what = f"asked for its devices, it did not answer in {seconds:.0f} s"
        return RuntimeState(runtime, failure=Failure(what, REMEDIES["runtime died"]))
    if answer.returncode != 0:
        return RuntimeState(runtime, failure=_death(answer.returncode, answer.stderr.decode(errors="replace")))
    return msgspec.json.decode(answer.stdout, type=RuntimeState)


def _death(status: int, words: str) -> Failure:
    ending = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    last = words.strip().rpartition("\n")[2]
    what = f"asked for its devices, its process ended with {ending}" + (f": {last}" if last else "")
    return Failure(what, REMEDIES["runtime died"])


def host_compiler() -> CompilerState:
    """The compiler that builds the host runtime."""
    command, failure = attempt(lambda: native_library.find_compiler(native_library.RECIPES["host"]))
    if command is None:
        return CompilerState("host runtime", failure=failure)
    return CompilerState("host runtime", " ".join(command), native_library.compiler_version(command))


def offload_compiler() -> CompilerState:
    """The compiler that builds code objects for AMD GPUs."""
    compiler, failure = attempt(ahead_of_time.find_compiler)
    if compiler is None:
        return CompilerState("ahead of time", failure=failure)
    return CompilerState("ahead of time", compiler.path, compiler.version)


def cache_state() -> CacheState:
    """The cache folder, tried out by writing."""
    folder, failure = attempt(cache.cache_folder)
    if folder is None:
        return CacheState("", failure)
    return CacheState(str(folder), _try_writing(folder))


def _try_writing(folder: Path) -> Failure | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return None
    except OSError as error:
        return Failure(f"cannot write into {folder} ({error.strerror})", REMEDIES["cache not writable"])
