"""Interpretation of a machine's state: problems and their remedies. Pure, so states can be recorded."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from moesort_tune.device import releases, remedies
from moesort_tune.device.amd_libraries import Candidate
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.installed import Package
from moesort_tune.device.machine import Machine
from moesort_tune.device.products import format_product, rate_likeness
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.runtime.search import REQUIRE_VARIABLE, TABLE_VARIABLE

LAST_HIP_NUMBERED_LIKE_ROCM: releases.Release = (7, 2)
"""Last ROCm release whose HIP version begins like its own; ROCm 10.0 has HIP 7.15."""


@dataclass(frozen=True)
class Failure:
    """A failure. what: what happened; remedy: the next step, '' where none is known."""

    what: str
    remedy: str = ""


@dataclass(frozen=True)
class DeviceState:
    """A device that a runtime offers. device_id: tells products of one architecture apart, '' where it is unknown."""

    ordinal: int
    name: str
    arch: str
    target: str
    compute_units: int
    wavefront_size: int
    lds_bytes: int
    memory_bytes: int
    device_id: str = ""

    @property
    def product(self) -> str:
        """The product's name and id; '' where the id is unknown."""
        return format_product(self.device_id)


@dataclass(frozen=True)
class RuntimeState:
    """A HIP runtime's answers. library: the file that was opened; compiler: its hiprtc's version.

    failure: why it has no devices; compiler_failure: why it cannot compile; missing_calls: required calls that it
    lacks; is_compiled: all kernels for its devices are already compiled.
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
    """A compiler of the machine, and its purpose."""

    purpose: Literal["host runtime", "ahead of time"]
    command: str = ""
    version: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class MeasuredDevice:
    """A device that a table has an entry of. device_id: '' where the table does not say it.

    evidence: of the entry's figures; what a serving process learned was measured too.
    """

    name: str
    compute_units: int
    device_id: str = ""
    evidence: Literal["measured", "published", "modelled"] = "measured"

    @property
    def product(self) -> str:
        """The product's name and id, or the device's name where the id is unknown."""
        return format_product(self.device_id) or self.name


@dataclass(frozen=True)
class TableState:
    """A table that was found.

    origin: 'MOESORT_TUNE_TABLE', './tables' or 'shipped'.
    revisions: of its entries, where the revision of the same provider's kernels on this machine is known.
    own_revisions: of those kernels on this machine. devices: of its entries, each once.
    digest: SHA-256 of the file, '' where it cannot be read. is_named: MOESORT_TUNE_TABLE names this very file.
    """

    path: str
    origin: str
    arch: str = ""
    compute_units: tuple[int, ...] = ()
    revisions: tuple[str, ...] = ()
    refused: str = ""
    own_revisions: tuple[str, ...] = ()
    devices: tuple[MeasuredDevice, ...] = ()
    digest: str = ""
    is_named: bool = False

    @property
    def is_used_where_found(self) -> bool:
        """Whether it decides in its place: figures that nobody measured serve only where their file is named."""
        return self.is_named or not self.devices or any(device.evidence == "measured" for device in self.devices)


@dataclass(frozen=True)
class CacheState:
    """The cache of compiled code. failure: why it cannot be written; is_readable: its entries can be used."""

    folder: str
    failure: Failure | None = None
    is_readable: bool = False


@dataclass(frozen=True)
class State:
    """A machine's complete state. rocm: copies of AMD's HIP library, the preferred one first."""

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
    align_revisions: Mapping[str, str] = field(default_factory=dict)

    def get_runtime(self, name: str) -> RuntimeState:
        """Return the state of runtime 'amd', 'cuda' or 'host'."""
        return next(runtime for runtime in self.runtimes if runtime.name == name)

    @property
    def rocm_release(self) -> releases.Release | None:
        """Release of the ROCm whose library is used: from its folder or wheel, else from its HIP version."""
        stated = releases.parse_release(self.rocm[0].release) if self.rocm else None
        hip = releases.parse_release(self.get_runtime("amd").hip_version)
        return stated or (hip if hip and hip <= LAST_HIP_NUMBERED_LIKE_ROCM else None)

    @property
    def fit(self) -> releases.Fit | None:
        """Fit of hip-python to ROCm; None where one of them is absent or does not tell its release."""
        mine = releases.parse_release(self.hip_python.version) if self.hip_python else None
        return releases.rate_fit(mine, self.rocm_release) if mine and self.rocm_release else None

    @property
    def best(self) -> RuntimeState | None:
        """The runtime that a sweep uses by default: the first with a device that the kernels are built for."""
        return next((runtime for runtime in self.runtimes if select_known_devices(runtime)), None)

    @property
    def required(self) -> TableState | None:
        """The table of MOESORT_TUNE_TABLE that has the digest of MOESORT_TUNE_REQUIRE, None without one."""
        digest = self.machine.environment.get(REQUIRE_VARIABLE, "").lower()
        named = (table for table in self.tables if table.origin == TABLE_VARIABLE)
        return next((table for table in named if digest and table.digest == digest), None)

    @property
    def is_cache_complete(self) -> bool:
        """Whether a sweep's kernels are all compiled already, so that nothing has to be written."""
        return self.cache.is_readable and self.best is not None and self.best.is_compiled


@dataclass(frozen=True)
class Problem:
    """A fault or a missing part. serious: the attached or requested device does not work without it."""

    subject: str
    what: str
    remedy: str
    serious: bool


def select_known_devices(runtime: RuntimeState) -> tuple[DeviceState, ...]:
    """Return the devices that the kernels are built for."""
    return tuple(device for device in runtime.devices if device.arch in ARCHITECTURES)


def find_problems(state: State) -> tuple[Problem, ...]:
    """Return the problems, the serious ones first."""
    if state.hip_python is None:
        # Every runtime fails for this one reason, so report it once.
        checks = [_check_device_files, _check_hip_python, _check_cache, _check_tables, _check_required_table]
    else:
        checks = [
            _check_gpus,
            _check_device_files,
            _check_runtimes,
            _check_run_time_compilers,
            _check_hip_python,
            _check_compilers,
            _check_cache,
            _check_tables,
            _check_required_table,
            _check_torch,
            _check_aiter,
        ]
    found = [problem for check in [*checks, _check_environment] for problem in check(state)]
    return tuple(sorted(found, key=lambda problem: not problem.serious))


def _check_gpus(state: State) -> Iterator[Problem]:
    """Yield a problem where no GPU is attached, which is fine, or one that the kernels are not built for."""
    machine = state.machine
    if not machine.kfd and not machine.nvidia and not machine.forbidden and not machine.broken:
        yield Problem("GPU", "none is attached (there is no /dev/kfd)", REMEDIES["no GPU"], False)
    attached = {device.arch for runtime in state.runtimes for device in runtime.devices}
    attached |= {gpu.arch for gpu in machine.kfd_gpus or ()}
    for arch in sorted(attached - ARCHITECTURES.keys()):
        what = f"a {arch} is attached; the kernels are for {', '.join(ARCHITECTURES)}"
        yield Problem("GPU", what, REMEDIES["unknown architecture"], False)


def _check_device_files(state: State) -> Iterator[Problem]:
    """Yield AMD's device files that cannot be opened, each with its error's meaning."""
    errors = {**dict.fromkeys(state.machine.forbidden, "EACCES"), **state.machine.broken}
    for path, error in errors.items():
        number = getattr(errno, error, None)
        what = f"{path} cannot be opened ({os.strerror(number) if number else error})"
        serious = state.machine.amd_gpu and not state.get_runtime("amd").devices
        yield Problem("device file", what, REMEDIES[remedies.diagnose_open_error(error)], serious)


def _check_runtimes(state: State) -> Iterator[Problem]:
    for runtime in state.runtimes:
        if runtime.missing_calls:
            yield _make_too_old_problem(state, runtime)
        elif runtime.failure and _is_expected(state, runtime):
            what, remedy = runtime.failure.what, runtime.failure.remedy
            yield Problem(f"{runtime.name} runtime", what, remedy or REMEDIES["runtime died"], True)


def _is_expected(state: State, runtime: RuntimeState) -> bool:
    """Return whether devices of this runtime can be expected: a driver is present; the host always is."""
    return {"amd": state.machine.amd_gpu, "cuda": state.machine.nvidia, "host": True}[runtime.name]


def _make_too_old_problem(state: State, runtime: RuntimeState) -> Problem:
    what = f"{runtime.library} (HIP {runtime.hip_version}) lacks {', '.join(runtime.missing_calls)}"
    return Problem(f"{runtime.name} runtime", what, REMEDIES["missing call"], _is_expected(state, runtime))


def _check_run_time_compilers(state: State) -> Iterator[Problem]:
    for runtime in state.runtimes:
        if runtime.devices and runtime.compiler_failure:
            what, remedy = runtime.compiler_failure.what, runtime.compiler_failure.remedy
            yield Problem(f"{runtime.name} run-time compiler", what, remedy or REMEDIES["no hiprtc"], True)


def _check_hip_python(state: State) -> Iterator[Problem]:
    if state.hip_python is None:
        remedy = remedies.suggest_hip_python(state.rocm_release) if state.rocm_release else REMEDIES["no hip-python"]
        yield Problem("hip-python", "it is not installed, and every GPU is reached through it", remedy, True)
    elif state.rocm_release and state.fit in ("near", "foreign"):
        foreign = state.fit == "foreign"
        rocm = releases.format_release(state.rocm_release)
        what = f"{state.hip_python.version} was not made for ROCm {rocm}" + ("" if foreign else ", but is close to it")
        yield Problem(
            "hip-python", what, remedies.suggest_hip_python(state.rocm_release), foreign and state.machine.amd_gpu
        )


def _check_compilers(state: State) -> Iterator[Problem]:
    for compiler in state.compilers:
        if compiler.failure is None:
            continue
        if compiler.purpose == "ahead of time":
            remedy = compiler.failure.remedy or REMEDIES["no offload compiler"]
            yield Problem("compiler for AMD GPUs", compiler.failure.what, remedy, False)
        elif not state.get_runtime("host").failure:
            # Otherwise the host runtime's own failure reports the missing compiler.
            what = f"{compiler.failure.what}; what was built before is used"
            yield Problem("compiler for the host", what, compiler.failure.remedy, False)


def _check_cache(state: State) -> Iterator[Problem]:
    if state.cache.failure and not state.is_cache_complete:
        remedy = state.cache.failure.remedy or REMEDIES["cache not writable"]
        yield Problem("cache", state.cache.failure.what, remedy, True)


def _check_tables(state: State) -> Iterator[Problem]:
    for table in state.tables:
        if table.refused:
            yield Problem("table", table.refused, REMEDIES["table refused"], True)
        elif unmeasured := [revision for revision in table.own_revisions if revision not in table.revisions]:
            what = f"{table.path} was measured with other kernels than these ({', '.join(unmeasured)})"
            yield Problem("table", what, REMEDIES["table of other kernels"], False)
        else:
            yield from _check_products(table, select_known_devices(state.best) if state.best else ())
    wanted = {device.arch for device in select_known_devices(state.best)} if state.best else set()
    for arch in sorted(wanted - {table.arch for table in state.tables if table.is_used_where_found}):
        yield Problem("table", f"there is none for {arch} yet", REMEDIES["no table"], False)


def _check_required_table(state: State) -> Iterator[Problem]:
    """Yield a problem where every process raises RequiredTableError."""
    if state.machine.environment.get(REQUIRE_VARIABLE) and state.required is None:
        what = f"no table of {TABLE_VARIABLE} has the digest that {REQUIRE_VARIABLE} asks for, so every process fails"
        yield Problem("table", what, REMEDIES["table not the required one"], True)


def _check_products(table: TableState, attached: Iterable[DeviceState]) -> Iterator[Problem]:
    """Yield a note for each attached product, of whose size the table has entries of other products alone."""
    own = {device.product: device for device in attached if device.arch == table.arch and device.product}
    for product, device in own.items():
        measured = [one for one in table.devices if one.evidence == "measured"]
        alike = [one for one in measured if one.compute_units == device.compute_units]
        if alike and not any(_is_same_product(one, device) for one in alike):
            there = " and ".join(sorted({one.product for one in alike}))
            what = f"{table.path} was measured on {there}, and this is {product}"
            yield Problem("table", what, REMEDIES["table of another product"], False)


def _is_same_product(measured: MeasuredDevice, device: DeviceState) -> bool:
    """Return whether both are of one product, by their names where the table says no id."""
    if measured.device_id:
        return rate_likeness(device.device_id, measured.device_id) > 0
    return measured.name == device.name


def _check_torch(state: State) -> Iterator[Problem]:
    if state.torch is None:
        yield Problem("torch", "it is not installed", REMEDIES["no torch"], False)
    elif state.get_runtime("amd").devices and "ROCm" not in state.torch.build:
        what = f"{state.torch.version} is a {state.torch.build} build on a machine with an AMD GPU"
        yield Problem("torch", what, REMEDIES["torch for another GPU"], False)


def _check_aiter(state: State) -> Iterator[Problem]:
    if state.aiter is None and state.machine.amd_gpu:
        yield Problem("aiter", "it is not installed", REMEDIES["no aiter"], False)
    elif state.aiter is not None and state.aiter.lacks:
        what = f"{state.aiter.version} in {state.aiter.folder} lacks {state.aiter.lacks}"
        yield Problem("aiter", what, REMEDIES["aiter too old"], False)


def _check_environment(state: State) -> Iterator[Problem]:
    for name, value in state.machine.overrides.items():
        what = f"{name}={value} makes HIP report another architecture than the GPU's"
        yield Problem("environment", what, REMEDIES["overridden architecture"], False)
