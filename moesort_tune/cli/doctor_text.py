"""The doctor's report as text."""

from collections.abc import Iterator, Mapping

from rich.markup import escape

from moesort_tune.cli.row_text import LAUNCH_MODES_IN_WORDS
from moesort_tune.device import releases
from moesort_tune.device.installed import Package
from moesort_tune.device.kfd import KfdGpu
from moesort_tune.device.products import format_product
from moesort_tune.doctor.diagnosis import (
    CompilerState,
    DeviceState,
    Problem,
    RuntimeState,
    State,
    TableState,
    find_problems,
    select_known_devices,
)
from moesort_tune.doctor.gap_probe import ModeGap, ProbedGap
from moesort_tune.runtime.search import REQUIRE_VARIABLE, TABLE_VARIABLE

_KIB, _GIB = 1 << 10, 1 << 30

_FITS = {
    "same": "fits ROCm {}",
    "near": "close to ROCm {}",
    "foreign": "does not fit ROCm {}",
}


def format_report(state: State, about: Mapping[str, str], gap: ProbedGap | None = None) -> Iterator[str]:
    """Yield the report's lines in rich's markup. about: see doctor.describe_versions. gap: if it was asked for."""
    yield f"moesort-tune {about['moesort_tune']}, Python {about['python']}, {escape(about['system'])}"
    for title, rows in [*_list_sections(state), *(_list_gaps(gap) if gap else ())]:
        if rows:
            yield ""
            yield f"[bold]{title}[/bold]"
            yield from _align(rows)
    yield from _format_advice(find_problems(state))
    yield ""
    yield _format_summary(state)


Rows = list[tuple[str, str]]


def _list_sections(state: State) -> Iterator[tuple[str, Rows]]:
    devices = [(runtime, device) for runtime in state.runtimes for device in runtime.devices]
    yield (
        "Devices",
        [
            *((f"{runtime.name} {device.ordinal}", _format_device(device)) for runtime, device in devices),
            *((f"kfd {gpu.node}", _format_gpu(gpu)) for gpu in _list_closed_gpus(state)),
        ],
    )
    yield "HIP runtimes", [(runtime.name, _format_runtime(runtime)) for runtime in state.runtimes]
    yield (
        "Copies of AMD's libamdhip64",
        [
            (f"{copy.origin} {copy.release}", f"{copy.path}{' (the one to use)' if number == 0 else ''}")
            for number, copy in enumerate(state.rocm)
        ],
    )
    yield "Compilers", [(compiler.purpose, _format_compiler(compiler)) for compiler in state.compilers]
    yield "Python packages", _format_packages(state)
    yield "Tables", [row for table in state.tables for row in _format_table(table)]
    yield "Revision of the kernels", _format_revisions(state.revisions)
    yield "Revision of the align form", _format_revisions(state.align_revisions)
    yield "Environment", [("cache", _format_cache(state)), *_list_variables(state)]


def _list_gaps(gap: ProbedGap) -> Iterator[tuple[str, Rows]]:
    """Yield the section of the launch gap: what each further launch costs, and the times behind it."""
    title = f"Launch gap of {gap.runtime} {gap.ordinal}, {escape(gap.device)}"
    yield (
        title,
        [
            *((LAUNCH_MODES_IN_WORDS[mode.mode], _format_gap(mode)) for mode in gap.modes),
            *((LAUNCH_MODES_IN_WORDS[mode], f"not measured: {reason}") for mode, reason in gap.failures.items()),
        ]
        or [("not measured", gap.failure)],
    )


def _format_gap(mode: ModeGap) -> str:
    times = ", ".join(f"{count}: {time_us:.2f} us" for count, time_us in mode.times_us.items())
    return f"{mode.gap_us:.2f} us for each further launch ({times})"


def _align(rows: Rows) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"  {escape(name.strip()):<{width}}  {escape(text)}"


def _format_device(device: DeviceState) -> str:
    product = f"{device.product}, " if device.product not in ("", device.name) else ""
    return (
        f"{device.name}: {product}{device.target}, {device.compute_units} compute units, "
        f"waves of {device.wavefront_size}, {device.lds_bytes // _KIB} KiB of LDS, {device.memory_bytes / _GIB:.0f} GiB"
    )


def _list_closed_gpus(state: State) -> tuple[KfdGpu, ...]:
    """Return the GPUs that AMD's driver lists, where its runtime opens none."""
    return () if state.get_runtime("amd").devices else state.machine.kfd_gpus or ()


def _format_gpu(gpu: KfdGpu) -> str:
    parts = (format_product(gpu.device_id), gpu.arch, f"{gpu.compute_units} compute units, which no runtime opens")
    return ", ".join(filter(None, parts))


def _format_runtime(runtime: RuntimeState) -> str:
    if runtime.failure and not runtime.library:
        return runtime.failure.what
    parts = [f"HIP {runtime.hip_version}" if runtime.hip_version else "", runtime.compiler]
    if runtime.failure or runtime.missing_calls:
        parts.append("no devices")
    return ", ".join(filter(None, [*parts, runtime.library]))


def _format_cache(state: State) -> str:
    is_fine = state.cache.failure and state.is_cache_complete
    return f"{state.cache.folder} (cannot be written, and holds all that is needed)" if is_fine else state.cache.folder


def _format_compiler(compiler: CompilerState) -> str:
    return "none that works" if compiler.failure else f"{compiler.command}: {compiler.version}"


def _format_packages(state: State) -> Rows:
    rocm = state.rocm_release
    fit = _FITS[state.fit].format(releases.format_release(rocm)) if state.fit and rocm else ""
    return [
        ("hip-python", _format_package(state.hip_python, fit)),
        ("torch", _format_package(state.torch)),
        ("aiter", _format_package(state.aiter)),
    ]


def _format_package(package: Package | None, note: str = "") -> str:
    if package is None:
        return "not installed"
    note = note or package.build
    return f"{package.version}{f' ({note})' if note else ''}"


def _format_table(table: TableState) -> Rows:
    """Return a row of what the table holds, and one of its digest."""
    digest = [("", f"sha256 {table.digest}")] if table.digest else []
    if table.refused:
        return [(table.origin, f"refused: {table.refused}"), *digest]
    units = ", ".join(map(str, table.compute_units))
    parts = [f"{units} compute units", *_list_evidence(table)]
    return [(table.origin, f"{table.path}: {table.arch}, {', '.join(parts)}"), *digest]


def _list_evidence(table: TableState) -> Iterator[str]:
    """Yield what is behind the table's figures, by product, and where it is used if not in its place."""
    for evidence, words in (("measured", "measured on"), ("published", "published on"), ("modelled", "modelled for")):
        products = dict.fromkeys(device.product for device in table.devices if device.evidence == evidence)
        if products:
            yield f"{words} {', '.join(products)}"
    if not table.is_used_where_found:
        yield f"so used only where {TABLE_VARIABLE} or a call names the file"


def _list_variables(state: State) -> Iterator[tuple[str, str]]:
    """Yield the variables that are set; of the required table's digest, whether there is such a table."""
    for name, value in state.machine.environment.items():
        if name == REQUIRE_VARIABLE and value:
            match = (
                f"the digest of {state.required.path}" if state.required else "no table that is named has this digest"
            )
            yield name, f"{value} ({match})"
        else:
            yield name, value


def _format_revisions(revisions: Mapping[str, str]) -> Rows:
    """Return one row per revision: architectures that compile the same code share it."""
    archs: dict[str, list[str]] = {}
    for arch, revision in revisions.items():
        archs.setdefault(revision, []).append(arch)
    return [(revision, ", ".join(names)) for revision, names in archs.items()]


def _format_advice(found: tuple[Problem, ...]) -> Iterator[str]:
    for title, serious, style in (("To fix", True, "bold red"), ("Good to know", False, "bold")):
        chosen = [problem for problem in found if problem.serious == serious]
        if chosen:
            yield ""
            yield f"[{style}]{title}[/{style}]"
        for problem in chosen:
            yield f"  {escape(problem.subject)}: {escape(problem.what)}"
            yield f"    [cyan]->[/cyan] {escape(problem.remedy)}"


def _format_summary(state: State) -> str:
    if state.best is None:
        return "Nothing to measure on yet: see above."
    device = select_known_devices(state.best)[0]
    return f"`moesort-tune sweep` would measure on {escape(device.name)} ({device.arch}, {state.best.name} runtime)."
