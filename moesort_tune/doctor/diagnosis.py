"""What a machine's state means: what is wrong or missing, and what to do about it. Pure: states can be recorded."""

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from moesort_tune.device import releases, remedies
from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.installed import Package
from moesort_tune.device.machine import Machine
from moesort_tune.device.remedies import REMEDIES

LAST_HIP_NUMBERED_LIKE_ROCM: releases.Release = (7, 2)
"""Up to here HIP's version begins like its ROCm's; ROCm 10.0 has HIP 7.15."""


@dataclass(frozen=True)
class Failure:
    """what: what happened; remedy: what to do about it, '' where none is known."""

    what: str
    remedy: str = ""


@dataclass(frozen=True)
class DeviceState:
    """A device that a runtime offers."""

    ordinal: int
    name: str
    arch: str
    target: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class RuntimeState:
    """What a HIP runtime answered. library: the file that was opened; compiler: its hiprtc's version.

    failure: why it has no devices; compiler_failure: why it cannot compile; missing_calls: what it lacks of what we
    call; is_compiled: all kernels for its devices were compiled before.
    """

    name: str
    library: str = ""
    hip_version: str = ""
    driver_version: str = ""
    compiler: str = ""
    devices: tuple[DeviceState, ...] = ()
    failure: Failure | None = None
    compiler_failure: Failure | None = None
    missing_calls: tuple[str, ...] = ()
    is_compiled: bool = False


@dataclass(frozen=True)
class CompilerState:
    """A compiler of the machine, and what it is for."""

    purpose: Literal["host runtime", "ahead of time"]
    command: str = ""
    version: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class TableState:
    """A table that was found. origin: 'MOESORT_TUNE_TABLE', './tables' or 'shipped'; revisions: of its entries."""

    path: str
    origin: str
    arch: str = ""
    compute_units: tuple[int, ...] = ()
    revisions: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class CacheState:
    """Where compiled code is kept. failure: why nothing can be kept there; is_readable: what is there can be used."""

    folder: str
    failure: Failure | None = None
    is_readable: bool = False


@dataclass(frozen=True)
class State:
    """All that was found on a machine. rocm: copies of AMD's HIP library, the one that would be used first."""

    machine: Machine
    runtimes: tuple[RuntimeState, ...]
    compilers: tuple[CompilerState, ...]
    rocm: tuple[Candidate, ...]
    cache: CacheState
    hip_python: Package | None = None
    torch: Package | None = None
    aiter: Package | None = None
    tables: tuple[TableState, ...] = ()
    revisions: Mapping[str, str] = field(default_factory=dict)

    def runtime(self, name: str) -> RuntimeState:
        """The state of runtime 'amd', 'cuda' or 'host'."""
        return next(runtime for runtime in self.runtimes if runtime.name == name)

    @property
    def rocm_release(self) -> releases.Release | None:
        """Release of the ROCm whose library is used: as its folder or wheel says, else by its HIP version."""
        said = releases.parse_release(self.rocm[0].release) if self.rocm else None
        hip = releases.parse_release(self.runtime("amd").hip_version)
        return said or (hip if hip and hip <= LAST_HIP_NUMBERED_LIKE_ROCM else None)

    @property
    def fit(self) -> releases.Fit | None:
        """How well hip-python fits ROCm; None where one of them is not there or does not say its release."""
        mine = releases.parse_release(self.hip_python.version) if self.hip_python else None
        return releases.fit(mine, self.rocm_release) if mine and self.rocm_release else None

    @property
    def best(self) -> RuntimeState | None:
        """The runtime that a sweep takes by itself: the first with a device that the kernels are built for."""
        return next((runtime for runtime in self.runtimes if known_devices(runtime)), None)

    @property
    def is_cache_complete(self) -> bool:
        """Whether all that a sweep needs was compiled before, so that nothing has to be written."""
        return self.cache.is_readable and self.best is not None and self.best.is_compiled


@dataclass(frozen=True)
class Problem:
    """Something wrong or missing. serious: what is attached or asked for does not work without it."""

    subject: str
    what: str
    remedy: str
    serious: bool


def known_devices(runtime: RuntimeState) -> tuple[DeviceState, ...]:
    """The devices that the kernels are built for."""
    return tuple(device for device in runtime.devices if device.arch in ARCHITECTURES)


def problems(state: State) -> tuple[Problem, ...]:
    """What is wrong or missing, the serious first."""
    if state.hip_python is None:
        # Every runtime fails for this one reason, which is enough to say once.
        checks = [_device_files, _hip_python, _cache, _tables]
    else:
        checks = [
            _gpus,
            _device_files,
            _runtimes,
            _run_time_compilers,
            _hip_python,
            _compilers,
            _cache,
            _tables,
            _torch,
            _aiter,
        ]
    found = [problem for check in [*checks, _environment] for problem in check(state)]
    return tuple(sorted(found, key=lambda problem: not problem.serious))


def _gpus(state: State) -> Iterator[Problem]:
    """No GPU at all, which is fine, or one that the kernels are not built for."""
    machine = state.machine
    if not machine.kfd and not machine.nvidia and not machine.forbidden and not machine.broken:
        yield Problem("GPU", "none is attached (there is no /dev/kfd)", REMEDIES["no GPU"], False)
    attached = {device.arch for runtime in state.runtimes for device in runtime.devices}
    attached |= {gpu.arch for gpu in machine.kfd_gpus or ()}
    for arch in sorted(attached - ARCHITECTURES.keys()):
        what = f"a {arch} is attached; the kernels are for {', '.join(ARCHITECTURES)}"
        yield Problem("GPU", what, REMEDIES["unknown architecture"], False)


def _device_files(state: State) -> Iterator[Problem]:
    """AMD's device files that cannot be opened, each with what its error says."""
    errors = {**dict.fromkeys(state.machine.forbidden, "EACCES"), **state.machine.broken}
    for path, error in errors.items():
        number = getattr(errno, error, None)
        what = f"{path} cannot be opened ({os.strerror(number) if number else error})"
        serious = state.machine.amd_gpu and not state.runtime("amd").devices
        yield Problem("device file", what, REMEDIES[remedies.why_not_opened(error)], serious)


def _runtimes(state: State) -> Iterator[Problem]:
    for runtime in state.runtimes:
        if runtime.missing_calls:
            yield _too_old(state, runtime)
        elif runtime.failure and _is_expected(state, runtime):
            what, remedy = runtime.failure.what, runtime.failure.remedy
            yield Problem(f"{runtime.name} runtime", what, remedy or REMEDIES["runtime died"], True)


def _is_expected(state: State, runtime: RuntimeState) -> bool:
    """Whether there is a reason to expect devices of this runtime: a driver; the host is always there."""
    return {"amd": state.machine.amd_gpu, "cuda": state.machine.nvidia, "host": True}[runtime.name]


def _too_old(state: State, runtime: RuntimeState) -> Problem:
    what = f"{runtime.library} (HIP {runtime.hip_version}) lacks {', '.join(runtime.missing_calls)}"
    return Problem(f"{runtime.name} runtime", what, REMEDIES["missing call"], _is_expected(state, runtime))


def _run_time_compilers(state: State) -> Iterator[Problem]:
    for runtime in state.runtimes:
        if runtime.devices and runtime.compiler_failure:
            what, remedy = runtime.compiler_failure.what, runtime.compiler_failure.remedy
            yield Problem(f"{runtime.name} run-time compiler", what, remedy or REMEDIES["no hiprtc"], True)


def _hip_python(state: State) -> Iterator[Problem]:
    if state.hip_python is None:
        remedy = remedies.hip_python(state.rocm_release) if state.rocm_release else REMEDIES["no hip-python"]
        yield Problem("hip-python", "it is not installed, and every GPU is reached through it", remedy, True)
    elif state.rocm_release and state.fit in ("near", "foreign"):
        foreign = state.fit == "foreign"
        rocm = releases.text(state.rocm_release)
        what = f"{state.hip_python.version} was not made for ROCm {rocm}" + ("" if foreign else ", but is close to it")
        yield Problem("hip-python", what, remedies.hip_python(state.rocm_release), foreign and state.machine.amd_gpu)


def _compilers(state: State) -> Iterator[Problem]:
    for compiler in state.compilers:
        if compiler.failure is None:
            continue
        if compiler.purpose == "ahead of time":
            remedy = compiler.failure.remedy or REMEDIES["no offload compiler"]
            yield Problem("compiler for AMD GPUs", compiler.failure.what, remedy, False)
        elif not state.runtime("host").failure:
            # Else the host runtime's own failure says that its compiler is missing.
            what = f"{compiler.failure.what}; what was built before is used"
            yield Problem("compiler for the host", what, compiler.failure.remedy, False)


def _cache(state: State) -> Iterator[Problem]:
    if state.cache.failure and not state.is_cache_complete:
        remedy = state.cache.failure.remedy or REMEDIES["cache not writable"]
        yield Problem("cache", state.cache.failure.what, remedy, True)


def _tables(state: State) -> Iterator[Problem]:
    for table in state.tables:
        if table.refused:
            yield Problem("table", table.refused, REMEDIES["table refused"], True)
        elif table.revisions and state.revisions.get(table.arch) not in table.revisions:
            what = f"{table.path} was measured with other kernels than these ({state.revisions.get(table.arch)})"
            yield Problem("table", what, REMEDIES["table of other kernels"], False)
    wanted = {device.arch for device in known_devices(state.best)} if state.best else set()
    for arch in sorted(wanted - {table.arch for table in state.tables}):
        yield Problem("table", f"there is none for {arch} yet", REMEDIES["no table"], False)


def _torch(state: State) -> Iterator[Problem]:
    if state.torch is None:
        yield Problem("torch", "it is not installed", REMEDIES["no torch"], False)
    elif state.runtime("amd").devices and "ROCm" not in state.torch.build:
        what = f"{state.torch.version} is a {state.torch.build} build on a machine with an AMD GPU"
        yield Problem("torch", what, REMEDIES["torch for another GPU"], False)


def _aiter(state: State) -> Iterator[Problem]:
    if state.aiter is None and state.machine.amd_gpu:
        yield Problem("aiter", "it is not installed", REMEDIES["no aiter"], False)
    elif state.aiter is not None and state.aiter.lacks:
        what = f"{state.aiter.version} in {state.aiter.folder} lacks {state.aiter.lacks}"
        yield Problem("aiter", what, REMEDIES["aiter too old"], False)


def _environment(state: State) -> Iterator[Problem]:
    for name, value in state.machine.overrides.items():
        what = f"{name}={value} makes HIP report another architecture than the GPU's"
        yield Problem("environment", what, REMEDIES["overridden architecture"], False)
