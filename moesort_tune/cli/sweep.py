"""`moesort-tune sweep`: measure kernels on the attached device and write the table."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from moesort_tune.cli.interruption import InterruptedWorkError
from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import (
    ARCH,
    CONDITIONS,
    INTEGERS,
    MODEL_SHAPES,
    POINT_LIMIT,
    ROUTING,
    SECONDS,
    SEED,
    TOKENS,
    FilePath,
    IntRange,
    ProviderChoice,
    add_fleet_options,
    add_margin_option,
    add_timing_option,
    build_fleet,
    identify_trace,
)
from moesort_tune.cli.plan_text import print_plan
from moesort_tune.cli.progress import LineProgress, show_progress
from moesort_tune.cli.table_text import format_count
from moesort_tune.domain import presets
from moesort_tune.domain.presets import MODELS, list_default_shapes
from moesort_tune.domain.settings import NamedRouting, Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import (
    ALIGN,
    ALIGN_CONDITION,
    DEFAULT_UNIT_SIZE,
    MAX_EXPERTS,
    MAX_UNIT_SIZE,
    Condition,
    Operation,
)
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.providers.facts import registry
from moesort_tune.sweep.fleet.options import Devices, EngineName
from moesort_tune.sweep.grid import check_size, drop_repeats, list_misses, pair_shapes
from moesort_tune.sweep.job import (
    DEFAULT_REPLICAS,
    POINT_LIMIT_SECONDS,
    JobResult,
    SweepJob,
    get_default_tokens,
    run_job,
)
from moesort_tune.sweep.samples import get_samples_path
from moesort_tune.sweep.search import TokenRange

Parsed = TypeVar("Parsed")

MAX_MODEL_DIM = 1 << 20
"""Columns of moe_buf: far beyond any model, and few enough for its bytes to fit in 63 bits."""

MAX_REPLICAS = 64

EPILOG = """\b
Examples:
  moesort-tune sweep
  moesort-tune sweep --arch gfx950 --model gpt-oss-120b --model deepseek-v3
  moesort-tune sweep --model deepseek-v3 --ep 8
  moesort-tune sweep --experts 8,64,128,256 --topk 2,6,4,8 --tokens 1:4096 --out my.yaml
  moesort-tune sweep --from-misses misses.csv --time-budget 60 --resume
  moesort-tune sweep --device all --replicas 2
  moesort-tune sweep --engine ray --address auto
  moesort-tune sweep --routing trace:routing.npz --out served.yaml
  moesort-tune sweep --operation align
"""


@click.command(epilog=EPILOG)
@click.option(
    "--arch",
    type=ARCH,
    default="auto",
    show_default=True,
    help="Fail unless the attached device is of this architecture.",
)
@add_fleet_options(
    device_help="Numbers of this machine's devices, or all.",
    engine_help="This machine's devices, or a Ray cluster's.",
)
@click.option(
    "--operation",
    type=click.Choice(list(presets.OPERATIONS)),
    help="moe_sorting, or moe_align_block_size. Default: that of --kernels, else sorting.",
)
@click.option("--kernels", type=ProviderChoice("all"), help="Default: all of the operation that can run here.")
@click.option("--experts", type=INTEGERS, help="Expert counts; the first goes with the first --topk, and so on.")
@click.option("--topk", type=INTEGERS, help="Experts per token.")
@click.option(
    "--model",
    "models",
    type=MODEL_SHAPES,
    multiple=True,
    help=f"A preset, and its -shared where there is one: {', '.join(MODELS)}.",
)
@click.option("--from-misses", type=FilePath(), help="Shapes from a file of MOESORT_TUNE_MISSES.")
@click.option("--tokens", type=TOKENS, help="Range to search. Default: 1:16384, on host 1:512.")
@add_timing_option
@click.option(
    "--unit-size",
    type=IntRange(1, MAX_UNIT_SIZE),
    default=DEFAULT_UNIT_SIZE,
    show_default=True,
    help="Rows of a GEMM tile.",
)
@click.option(
    "--model-dim",
    type=IntRange(1, MAX_MODEL_DIM),
    default=4096,
    show_default=True,
    help="Columns of moe_buf, the layer's output buffer.",
)
@click.option(
    "--condition",
    "conditions",
    type=CONDITIONS,
    multiple=True,
    help=f"Of {', '.join(presets.CONDITIONS)}. Default: all, on host with-moe-buf, with --ep masked.",
)
@click.option(
    "--ep",
    type=IntRange(1, MAX_EXPERTS),
    default=1,
    show_default=True,
    help=f"Ranks that share the experts where they are masked; 1 stands for {presets.MASKED_RANKS} there.",
)
@click.option(
    "--routing",
    type=ROUTING,
    default="uniform",
    show_default=True,
    help="Or zipf:EXPONENT, dirichlet:CONCENTRATION, trace:FILE (see docs/operator.md).",
)
@click.option("--cold", is_flag=True, help="Flush the last-level cache before each launch (with --timing eager).")
@add_margin_option
@click.option("--time-budget", type=SECONDS, help="Seconds for all. Default: none, on host 12 a row.")
@click.option(
    "--point-limit",
    type=POINT_LIMIT,
    default=POINT_LIMIT_SECONDS,
    show_default=True,
    help="Seconds after which a kernel counts as never ending.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of inputs and order.")
@click.option("--out", type=FilePath(), help="The table. Default: tables/ARCH.yaml.")
@click.option("--resume", is_flag=True, help="Do not measure again what the table's samples hold.")
@click.option(
    "--replace", is_flag=True, help="Put the rows in the place of any others, also of other settings or more points."
)
@click.option(
    "--replicas",
    type=IntRange(1, MAX_REPLICAS),
    default=DEFAULT_REPLICAS,
    show_default=True,
    help="Cards of its kind that each row is measured on, where there are several.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimated time, and measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def sweep(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Measure which kernel is fastest for which number of tokens, and write the table."""
    job = build_job(**options)
    if dry_run:
        print_plan(job, as_json)
        return
    with show_progress(rows_are_results=not as_json) as listener:
        results = run_until_interrupted(job, listener)
    print_results(results, as_json)
    raise_for_missing_rows(results)


def run_until_interrupted(job: SweepJob, listener: LineProgress) -> list[JobResult]:
    """Return the job's results. Raise InterruptedWorkError for ctrl-C once a point was measured."""
    try:
        return run_job(job, listener)
    except KeyboardInterrupt:
        if not listener.has_measured:
            raise
        samples = " and ".join(str(get_samples_path(job.locate_table(arch))) for arch in listener.archs)
        hold = "holds" if len(listener.archs) == 1 else "hold"
        kept = f"{samples} {hold} what was measured; the same command with --resume goes on from there"
        raise InterruptedWorkError(kept) from None


def build_job(
    *,
    arch: str,
    devices: Devices,
    engine: EngineName,
    address: str,
    operation: str | None,
    kernels: str | None,
    experts: list[int] | None,
    topk: list[int] | None,
    models: tuple[list[Shape], ...],
    from_misses: Path | None,
    conditions: tuple[list[Condition], ...],
    tokens: TokenRange | None,
    margin: float,
    time_budget: float | None,
    point_limit: float,
    out: Path | None,
    resume: bool,
    replace: bool,
    replicas: int,
    routing: NamedRouting,
    **settings: Any,
) -> SweepJob:
    """Return the job that the options describe. Raise click.UsageError, and MoesortTuneError for a bad file."""
    of_models = [shape for shapes in models for shape in shapes]
    chosen = choose_operation(operation, kernels)
    missed = choose_misses(from_misses, chosen) if from_misses else []
    named = [*pair_options(experts, topk), *of_models, *missed]
    routing = identify_trace(routing)
    if routing.shape is not None:
        named = check_trace_shapes(routing, named)
    job = SweepJob(
        arch=arch,
        fleet=build_fleet(engine, devices, address),
        providers=list_providers(kernels, chosen),
        shapes=drop_repeats(named) or None,
        tokens=tokens,
        settings=check_usage(lambda: Settings(**settings, routing=routing.routing, trace=routing.trace)),
        rule=StoppingRule(margin=margin),
        table=out,
        resume=resume,
        replace=replace,
        replicas=replicas,
        time_budget_s=time_budget,
        point_limit_s=point_limit,
        conditions=tuple(dict.fromkeys(one for several in conditions for one in several)) or None,
    )
    check_grid(job)
    return job


def choose_misses(path: Path, operation: Operation) -> list[Shape]:
    """Return the shapes of a file of misses whose kernels compute the operation; print how many others are in it.

    Raise a MoesortTuneError where all are others, and for a bad file.
    """
    misses = list_misses(path)
    shapes = drop_repeats(miss.shape for miss in misses if miss.operation in (None, operation))
    others = len({miss.shape for miss in misses}) - len(shapes)
    if others:
        name = next(name for name, other in presets.OPERATIONS.items() if other != operation)
        what = f"{path} holds {format_count(others, 'shape', 'shapes')} that kernels of another operation missed"
        if not shapes:
            raise MoesortTuneError(f"{what}, and none of {operation}; use --operation {name}")
        print_remark(f"{what}, left out here; --operation {name} sweeps what is left out")
    return shapes


def check_trace_shapes(routing: NamedRouting, named: list[Shape]) -> list[Shape]:
    """Return the shape of a trace, the only one that it can measure. Raise click.UsageError for others."""
    others = [shape for shape in named if shape != routing.shape]
    if others:
        raise click.UsageError(f"{routing.trace} holds the routing of {routing.shape}, not that of {others[0]}")
    return [routing.shape] if routing.shape else named


def pair_options(experts: list[int] | None, topk: list[int] | None) -> list[Shape]:
    """Return the shapes of --experts and --topk, which require each other. Raise click.UsageError."""
    if experts is None and topk is None:
        return []
    if experts is None or topk is None:
        raise click.UsageError("--experts and --topk need each other: --experts 8,64 --topk 2,6")
    return check_usage(lambda: pair_shapes(experts, topk))


def choose_operation(name: str | None, kernels: str | None) -> Operation:
    """Return the operation of --operation, else that of --kernels. Raise click.UsageError where they contradict."""
    if kernels in (None, "all"):
        return presets.OPERATIONS[name or "sorting"]
    own = registry.find_operation(str(kernels))
    if name is not None and own != presets.OPERATIONS[name]:
        raise click.UsageError(
            f"--kernels {kernels} compute {own}, and --operation {name} is {presets.OPERATIONS[name]}; leave one out"
        )
    return own


def list_providers(kernels: str | None, operation: Operation) -> tuple[str, ...]:
    """Return the names of the providers to sweep; print why an installed one is left out."""
    from moesort_tune.providers.work.base import available, list_registered, why_not

    if kernels not in (None, "all"):
        return (str(kernels),)
    for name in list_registered(operation):
        if (reason := why_not(name)) and _is_installed(name):
            print_remark(f"{name} is left out: {reason}")
    return tuple(available(operation))


def _is_installed(name: str) -> bool:
    """Return whether the package of a provider's kernels is there; that of another package's provider always is."""
    from moesort_tune.providers.work.base import revision_of

    return name not in registry.BUNDLED or revision_of(name, "") is not None


def check_grid(job: SweepJob) -> None:
    """Raise click.UsageError for shapes that the settings or the largest token count make impossible."""
    arch = "host" if job.arch == "auto" else job.arch
    if job.operation == ALIGN:
        check_align(job)
    asked = job.conditions is not None or job.settings.ep > 1
    ranks = max(settings.ep for settings in job.list_settings(arch)) if asked else 1
    if job.settings.ep > ranks:
        raise click.UsageError(f"--ep {job.settings.ep} needs the condition masked: --condition masked")
    for shape in job.shapes or []:
        if ranks > shape.num_experts:
            raise click.UsageError(f"--ep {ranks} leaves ranks without one of the {shape.num_experts} experts")
    for shape in job.shapes or list_default_shapes(arch):
        check_usage(partial(check_size, shape, job.tokens or get_default_tokens(arch), job.settings.unit_size))


def check_align(job: SweepJob) -> None:
    """Raise click.UsageError for conditions that the align operation does not have."""
    if job.settings.ep > 1:
        raise click.UsageError(
            f"{ALIGN} is not swept by ranks: an expert map changes one load of a pair, so a row decides for calls with"
            " a map too; leave --ep out"
        )
    for name, condition in presets.CONDITIONS.items():
        if condition != ALIGN_CONDITION and condition in (job.conditions or ()):
            raise click.UsageError(
                f"{ALIGN} has no condition {name}: it zeroes no moe_buf, and a row decides for calls with an expert map"
                " too; leave --condition out"
            )


def check_usage(make: Callable[[], Parsed]) -> Parsed:
    """Return the result of `make`; convert its ValueError to click.UsageError."""
    try:
        return make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def print_results(results: list[JobResult], as_json: bool) -> None:
    """Print what happened to cards and workers, and the files that hold the results; as JSON also the rows."""
    if as_json:
        print_json([build_result_data(result) for result in results])
        return
    for result in results:
        for incident in result.result.incidents:
            print_result(f"note: {incident}")
        if result.result.rows:
            print_result(f"table: {result.table}")
        print_result(f"samples: {result.samples}")


def build_result_data(result: JobResult) -> dict[str, object]:
    """Return one provider's sweep as plain data."""
    return {
        "table": str(result.table),
        "samples": str(result.samples),
        "arch": result.facts.arch,
        "device": result.facts.name,
        "compute_units": result.facts.compute_units,
        "provider": result.facts.provider,
        "operation": registry.find_operation(result.facts.provider),
        "revision": result.facts.revision,
        "cards": list(result.cards),
        "rows": [{**key.condition._asdict(), **msgspec.to_builtins(row)} for key, row in result.result.written.items()],
        "failed": {str(key): reason for key, reason in result.result.failed.items()},
        "unfinished": {str(key): reason for key, reason in result.result.unfinished.items()},
        "incidents": result.result.incidents,
        "left_out": result.result.left_out,
    }


def raise_for_missing_rows(results: list[JobResult]) -> None:
    """Raise MoesortTuneError if a shape failed, or if the time budget ended before the first row."""
    failed = {key: reason for result in results for key, reason in result.result.failed.items()}
    if failed:
        key, reason = next(iter(failed.items()))
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise MoesortTuneError(f"no row was written for {key}{others}: {reason}")
    if not any(result.result.rows for result in results):
        raise MoesortTuneError("the time budget was too short for a single row; raise --time-budget or use --resume")
