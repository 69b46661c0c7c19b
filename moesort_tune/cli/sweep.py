"""`moesort-tune sweep`: measures both kernels on the attached device and writes the table."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from moesort_tune.cli.output import print_json, print_result
from moesort_tune.cli.parameters import (
    ARCH,
    DEVICE,
    INTEGERS,
    MARGIN,
    MODEL,
    POINT_LIMIT,
    ROUTING,
    SECONDS,
    SEED,
    TOKENS,
    FilePath,
    IntRange,
)
from moesort_tune.cli.progress import progress, told
from moesort_tune.domain.presets import MODELS, default_shapes
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MAX_EXPERTS, MAX_TOKENS, MAX_UNIT_SIZE
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.grid import check_size, pair_shapes, read_misses, without_repeats
from moesort_tune.sweep.job import (
    POINT_LIMIT_SECONDS,
    JobResult,
    SweepJob,
    default_tokens,
    run_job,
)
from moesort_tune.sweep.planning import PlannedRow, planned_arch, planned_rows
from moesort_tune.sweep.search import TokenRange

Parsed = TypeVar("Parsed")

MAX_MODEL_DIM = 1 << 20
"""Columns of moe_buf: far beyond any model, and few enough for its bytes to fit in 63 bits."""

EPILOG = """\b
Examples:
  moesort-tune sweep
  moesort-tune sweep --arch gfx950 --model gpt-oss-120b --model deepseek-v3
  moesort-tune sweep --experts 8,64,128,256 --topk 2,6,4,8 --tokens 1:4096 --out my.yaml
  moesort-tune sweep --from-misses misses.csv --time-budget 60 --resume
"""


@click.command(epilog=EPILOG)
@click.option("--arch", type=ARCH, default="auto", show_default=True, help="What the attached device must be.")
@click.option("--device", "ordinal", type=DEVICE, default=0, show_default=True, help="Number of the device.")
@click.option("--kernels", type=click.Choice(["builtin", "aiter", "all"]), help="Default: all that can be had.")
@click.option("--experts", type=INTEGERS, help="Expert counts; pair up with --topk.")
@click.option("--topk", type=INTEGERS, help="Experts per token.")
@click.option("--model", "models", type=MODEL, multiple=True, help=f"A preset: {', '.join(MODELS)}.")
@click.option("--from-misses", type=FilePath(), help="Shapes from a file of MOESORT_TUNE_MISSES.")
@click.option("--tokens", type=TOKENS, help="Range to search. Default: 1:16384, on host 1:512.")
@click.option("--timing", type=click.Choice(["graph", "eager"]), default="graph", show_default=True)
@click.option(
    "--unit-size", type=IntRange(1, MAX_UNIT_SIZE), default=32, show_default=True, help="Rows of a GEMM tile."
)
@click.option(
    "--model-dim", type=IntRange(1, MAX_MODEL_DIM), default=4096, show_default=True, help="Columns of moe_buf."
)
@click.option("--ep", type=IntRange(1, MAX_EXPERTS), default=1, show_default=True, help="Ranks that share the experts.")
@click.option("--routing", type=ROUTING, default="uniform", show_default=True, help="Or zipf:EXPONENT.")
@click.option("--cold", is_flag=True, help="Flush the last-level cache before each launch (with --timing eager).")
@click.option("--margin", type=MARGIN, default=0.02, show_default=True, help="Less is a tie.")
@click.option("--time-budget", type=SECONDS, help="Seconds for all. Default: none, on host 12 a shape.")
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
@click.option("--dry-run", is_flag=True, help="Print the plan and measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def sweep(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Measure which kernel is faster for which number of tokens, and write the table."""
    job = job_of(**options)
    if dry_run:
        print_plan(job, as_json)
        return
    with progress() as listener:
        results = run_job(job, listener)
    print_results(results, as_json)
    raise_for_missing_rows(results)


def job_of(
    *,
    arch: str,
    ordinal: int,
    kernels: str | None,
    experts: list[int] | None,
    topk: list[int] | None,
    models: tuple[Shape, ...],
    from_misses: Path | None,
    tokens: TokenRange | None,
    margin: float,
    time_budget: float | None,
    point_limit: float,
    out: Path | None,
    resume: bool,
    replace: bool,
    **settings: Any,
) -> SweepJob:
    """The job that the options ask for. Raises click.UsageError, and MoesortTuneError for a bad misses file."""
    named = [*shapes_of(experts, topk), *models, *(read_misses(from_misses) if from_misses else [])]
    job = SweepJob(
        arch=arch,
        ordinal=ordinal,
        providers=providers_of(kernels),
        shapes=without_repeats(named) or None,
        tokens=tokens,
        settings=usable(lambda: Settings(**settings)),
        rule=StoppingRule(margin=margin),
        table=out,
        resume=resume,
        replace=replace,
        time_budget_s=time_budget,
        point_limit_s=point_limit,
    )
    check_grid(job)
    return job


def shapes_of(experts: list[int] | None, topk: list[int] | None) -> list[Shape]:
    """Shapes of --experts and --topk, which need each other."""
    if experts is None and topk is None:
        return []
    if experts is None or topk is None:
        raise click.UsageError("--experts and --topk need each other: --experts 8,64 --topk 2,6")
    return usable(lambda: pair_shapes(experts, topk))


def providers_of(kernels: str | None) -> tuple[str, ...]:
    """Return the names of the providers to sweep; say on stderr why an installed AITER is none of them."""
    from moesort_tune.providers.work import aiter_package
    from moesort_tune.providers.work.base import available_providers

    if kernels not in (None, "all"):
        return (str(kernels),)
    if aiter_package.find() is not None and (reason := aiter_package.why_not_measured()):
        click.echo(f"aiter is left out: {reason}", err=True)
    return tuple(available_providers())


def check_grid(job: SweepJob) -> None:
    """Raises click.UsageError for shapes that the settings or the largest token count make impossible."""
    for shape in job.shapes or []:
        if job.settings.ep > shape.num_experts:
            raise click.UsageError(
                f"--ep {job.settings.ep} leaves ranks without one of the {shape.num_experts} experts"
            )
    arch = "host" if job.arch == "auto" else job.arch
    for shape in job.shapes or default_shapes(arch):
        usable(partial(check_size, shape, job.tokens or default_tokens(arch), job.settings.unit_size))


def usable(make: Callable[[], Parsed]) -> Parsed:
    """What `make` returns; its ValueError is bad usage."""
    try:
        return make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def print_plan(job: SweepJob, as_json: bool) -> None:
    """What a sweep would measure, on stdout."""
    arch = planned_arch(job)
    rows = planned_rows(job, arch)
    if as_json:
        told_rows = [
            {
                "kernels": row.provider,
                "num_experts": row.shape.num_experts,
                "topk": row.shape.topk,
                "oneshot_max_tokens": row.oneshot_max_tokens,
                "ladder": row.ladder,
                "in_table": row.there,
            }
            for row in rows
        ]
        print_json({"arch": arch, "table": str(job.table_for(arch)), "rows": told_rows})
        return
    for provider in job.providers:
        print_result(f"{arch}, kernels {provider}, {job.settings.timing} timing -> {job.table_for(arch)}")
        print_result("experts/topk  oneshot to  token counts measured first, then halved between changes of the winner")
        for row in rows:
            if row.provider == provider:
                print_result(f"{row.shape!s:>12}  {_limit_text(row):>10}  {' '.join(map(str, row.ladder))}")
                if row.there:
                    print_result(f"{'':>12}  in the table: {row.there}")


def _limit_text(row: PlannedRow) -> str:
    if row.oneshot_max_tokens >= MAX_TOKENS:
        return "any"
    return str(row.oneshot_max_tokens) if row.oneshot_max_tokens else "never"


def print_results(results: list[JobResult], as_json: bool) -> None:
    """The rows and where they are, on stdout."""
    if as_json:
        print_json([result_as_json(result) for result in results])
        return
    for result in results:
        for row in result.result.rows:
            print_result(f"{row.num_experts}/{row.topk}: {told(row)}")
        if result.result.rows:
            print_result(f"table: {result.table}")
        print_result(f"samples: {result.samples}")


def result_as_json(result: JobResult) -> dict[str, object]:
    """One provider's sweep as plain data."""
    return {
        "table": str(result.table),
        "samples": str(result.samples),
        "arch": result.facts.arch,
        "device": result.facts.name,
        "compute_units": result.facts.compute_units,
        "provider": result.facts.provider,
        "revision": result.facts.revision,
        "rows": [msgspec.to_builtins(row) for row in result.result.rows],
        "failed": {str(shape): reason for shape, reason in result.result.failed.items()},
        "unfinished": {str(shape): reason for shape, reason in result.result.unfinished.items()},
    }


def raise_for_missing_rows(results: list[JobResult]) -> None:
    """Raises MoesortTuneError where a shape failed, or where time was enough for no row at all."""
    failed = {shape: reason for result in results for shape, reason in result.result.failed.items()}
    if failed:
        shape, reason = next(iter(failed.items()))
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise MoesortTuneError(f"no row was written for {shape}{others}: {reason}")
    if not any(result.result.rows for result in results):
        raise MoesortTuneError("the time budget was too short for a single row; raise --time-budget or use --resume")
