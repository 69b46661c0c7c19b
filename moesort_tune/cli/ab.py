"""`moesort-tune ab`: measure the benefit of choosing the sorting kernel in the steps of a serving run."""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.parameters import (
    DEVICE,
    ROUTING,
    SEED,
    FilePath,
    IntRange,
    Parameter,
    ProviderChoice,
    add_engine_options,
    build_fleet,
    identify_trace,
)
from moesort_tune.domain.suggestions import suggest
from moesort_tune.domain.vocabulary import DEFAULT_PROVIDER, MAX_TOKENS, SORTING
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.statistics import compute_interval_rank
from moesort_tune.numerals import quote
from moesort_tune.replay.steps import CONFIDENCE, SERVED, STEP_TOKENS, PolicyResult, read_trace
from moesort_tune.sweep.fleet.options import EngineName
from moesort_tune.sweep.grid import parse_integers
from moesort_tune.verify.policies import ORACLE

if TYPE_CHECKING:
    from moesort_tune.replay.job import ReplayResult, Run


def parse_model(text: str) -> str:
    """Return the name of a model whose steps are known. Raise ValueError."""
    if text not in SERVED:
        raise ValueError(f"no model is called {quote(text)}; {suggest(text.lower(), SERVED)}")
    return text


def parse_concurrency(text: str) -> list[int]:
    """Return comma-separated integers from 1 to STEP_TOKENS. Raise ValueError."""
    numbers = parse_integers(text)
    if min(numbers) < 1 or max(numbers) > STEP_TOKENS:
        raise ValueError(f"expected integers from 1 to {STEP_TOKENS}, got {quote(text)}")
    return numbers


def check_kernels(_context: click.Context, _option: click.Parameter, name: str) -> None:
    """Raise click.UsageError for kernels that the torch operator moe_sorting does not run."""
    if name != DEFAULT_PROVIDER:
        raise click.UsageError(
            f"ab replays the torch operator {SORTING}, which runs the kernels of {DEFAULT_PROVIDER}; it cannot replay"
            f" those of {name}, whose times `moesort-tune verify --kernels {name}` measures"
        )


CONCURRENCY = Parameter("N,N,...", parse_concurrency)
CLIENTS = (16, 32, 64)
MAX_REPEATS = 1000
"""Largest number of samples for which compute_interval_rank stays within doubles."""
NAME_COLUMNS = 26
"""Width of the ways' names, unless one is longer."""
LOAD_OPTIONS = ("requests", "input_tokens", "output_tokens")

EPILOG = """\b
Every step of a trace sorts once in each MoE layer, in graphs captured as serving captures them. Each way to choose
replays the same steps, all ways in turn, in each repeat. The trace: so many clients ask, wait for the answer, and ask
again; prompts of 1000 tokens, answers of 100 (on host a small load and one layer, unless they are given).

\b
Examples:
  moesort-tune ab --model gpt-oss-120b
  moesort-tune ab --model deepseek-v3 --concurrency 16,64 --repeats 9 --table tables/gfx942.yaml
  moesort-tune ab --model gpt-oss-120b --trace tokens-per-step.txt --json
  moesort-tune ab --model gpt-oss-120b --routing trace:routing.npz
  moesort-tune ab --model gpt-oss-120b --engine ray
"""


@click.command(epilog=EPILOG, short_help="Replay a serving run's steps, once by each way to choose.")
@click.option("--model", type=Parameter("MODEL", parse_model, SERVED), required=True, help=f"{', '.join(SERVED)}.")
@click.option("--concurrency", type=CONCURRENCY, help="Clients at once. Default: 16,32,64.")
@click.option(
    "--repeats", type=IntRange(1, MAX_REPEATS), default=5, show_default=True, help="Of every way, interleaved."
)
@click.option(
    "--kernels",
    type=ProviderChoice(),
    default=DEFAULT_PROVIDER,
    hidden=True,
    callback=check_kernels,
    expose_value=False,
)
@click.option("--table", type=FilePath(), help="Default: the table that a serving process would use.")
@click.option("--trace", type=FilePath(), help="Tokens of each step, one number a line.")
@click.option("--requests", type=IntRange(1, 1000), help="Of each client. Default: 4, on host 1.")
@click.option("--input-tokens", type=IntRange(1, MAX_TOKENS), help="Of each prompt. Default: 1000, on host 64.")
@click.option("--output-tokens", type=IntRange(1, 100_000), help="Of each answer. Default: 100, on host 8.")
@click.option("--layers", type=IntRange(1, 1000), help="Sorts in one step. Default: the model's, on host 1.")
@click.option(
    "--routing",
    type=ROUTING,
    default="uniform",
    show_default=True,
    help="Or zipf:EXPONENT, dirichlet:CONCENTRATION, trace:FILE.",
)
@click.option("--device", "ordinal", type=DEVICE, default=0, show_default=True, help="Number of the device.")
@add_engine_options("A GPU of this machine, or of Ray's.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of inputs and order.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def ab(
    *,
    model: str,
    concurrency: list[int] | None,
    trace: Path | None,
    as_json: bool,
    engine: EngineName,
    address: str,
    **options: Any,
) -> None:
    """Replay the sorting steps of a serving run, once by each way to choose, and compare."""
    fleet = build_fleet(engine, (options["ordinal"],), address, device_option="ordinal")
    load = {"concurrency": concurrency, **{name: options[name] for name in LOAD_OPTIONS}}
    if trace is not None and (given := [name for name, value in load.items() if value is not None]):
        named = ", ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"--trace names the steps themselves, so {named} cannot be given with it")
    routing = options["routing"] = identify_trace(options["routing"])
    shape = SERVED[model].shape
    if routing.shape not in (None, shape):
        raise click.UsageError(f"{routing.trace} holds the routing of {routing.shape}, not that of {model}, {shape}")
    if importlib.util.find_spec("torch") is None:
        raise MoesortTuneError("ab runs the torch operator; install the torch of your GPU, or any on host")
    from moesort_tune.replay.cluster import run_on_cluster
    from moesort_tune.replay.job import ReplayJob, run_replay

    steps = None if trace is None else read_trace(trace)
    job = ReplayJob(model=SERVED[model], concurrency=tuple(concurrency or CLIENTS), trace=steps, **options)
    on_cluster = fleet.engine == "ray"
    result = run_on_cluster(job, fleet.address, print_remark) if on_cluster else run_replay(job, print_remark)
    if as_json:
        settings = {"name": model, "repeats": job.repeats, "seed": job.seed, "routing": job.routing.routing}
        print_json({**settings, **asdict(result)})
    else:
        print_result(format_result(model, result, job.repeats))


def format_result(name: str, result: "ReplayResult", repeats: int) -> str:
    """Return the result as text."""
    model = result.model
    by = f"table {result.table}" if result.table else "no table, so the builtin rule decides in its place"
    head = (
        f"{result.device}, {result.arch}, {result.compute_units} compute units\n"
        f"{name}: {model.shape.num_experts} experts, topk {model.shape.topk}, {model.layers} layers, model_dim "
        f"{model.model_dim}; {by}"
    )
    return "\n\n".join([f"{head}\n{describe_intervals(repeats)}", *(format_run(run, repeats) for run in result.runs)])


def describe_intervals(repeats: int) -> str:
    """Return a sentence on the number of repeats and the interval in brackets."""
    if repeats == 1:
        return "one repeat, so nothing is known of the scatter"
    if compute_interval_rank(repeats, CONFIDENCE) <= 1:
        return f"medians of {repeats} repeats [their range]"
    return f"medians of {repeats} repeats [{CONFIDENCE:.0%} interval]"


def format_run(run: "Run", repeats: int) -> str:
    """Return the lines of one trace: one for each policy."""
    width = max(NAME_COLUMNS, *(len(result.name) + 1 for result in run.results))
    lines = [
        f"{run.title}: {len(run.steps)} steps of {min(run.steps)} to {max(run.steps)} tokens",
        f"  {'':<{width}}{'us a step':>12}{'':<24}    speedup over AITER's rule",
    ]
    lines += [_format_line(result, repeats, width) for result in run.results]
    return "\n".join([*lines, *(f"  {remark}" for remark in list_remarks(run.results, repeats))])


def list_remarks(results: Sequence[PolicyResult], repeats: int) -> Iterator[str]:
    """Yield a sentence on differences that the repeats do not show. results: the baseline of the speedups first."""
    baseline, *others = results
    unclear = [result.name for result in others if result.speedup.low <= 1 <= result.speedup.high]
    if unclear and repeats > 1:
        names = ", ".join(unclear)
        yield f"No difference from {baseline.name} is shown for {names}: the brackets of the speedup hold 1."
    oracle = next(result.us_per_step.median for result in results if result.name == ORACLE)
    faster = {result.name: oracle / result.us_per_step.median - 1 for result in results if result.name != ORACLE}
    if any(gain > 0 for gain in faster.values()):
        names = ", ".join(name for name, gain in faster.items() if gain > 0)
        yield (
            f"The oracle takes the kernel that was fastest when each size was timed by itself, and loses to {names}: "
            f"differences of {max(faster.values()):.1%} mean nothing here."
        )


def _format_line(result: PolicyResult, repeats: int, width: int) -> str:
    us, speedup = result.us_per_step, result.speedup
    if repeats == 1:
        return f"  {result.name:<{width}}{us.median:>12.2f}{'':<24}{speedup.median:>8.3f}"
    times = f"{us.median:>12.2f}  [{us.low:.2f}, {us.high:.2f}]"
    return f"  {result.name:<{width}}{times:<36}{speedup.median:>8.3f}  [{speedup.low:.3f}, {speedup.high:.3f}]"
