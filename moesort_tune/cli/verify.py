"""`moesort-tune verify`: measure points that no sweep measured, and report the cost of the table's choices."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from moesort_tune.cli.output import print_json, print_result
from moesort_tune.cli.parameters import (
    POINT_LIMIT,
    ROUTING,
    SEED,
    FilePath,
    IntRange,
    Parameter,
    ProviderChoice,
    add_fleet_options,
    add_margin_option,
    add_timing_option,
    build_fleet,
    identify_trace,
)
from moesort_tune.domain.settings import NamedRouting
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import DEFAULT_PROVIDER, SORTING
from moesort_tune.errors import MoesortTuneError
from moesort_tune.providers.facts.registry import find_operation
from moesort_tune.sweep.fleet.opening import format_left_out
from moesort_tune.sweep.fleet.options import Devices, EngineName
from moesort_tune.sweep.job import POINT_LIMIT_SECONDS
from moesort_tune.verify.asking import VerifyJob
from moesort_tune.verify.conditions import (
    AS_SWEPT,
    NO_TABLE,
    OF_CALLS,
    OTHER_SETTINGS,
    OTHER_SHAPES,
    RegretLimit,
    find_name,
    hyphenate,
    list_other_settings,
    parse_limit,
)
from moesort_tune.verify.job import run_verification
from moesort_tune.verify.regret import Regret
from moesort_tune.verify.results import Skew, VerifyResult, format_swept
from moesort_tune.verify.verification import Question, SettingReport


def parse_settings(text: str) -> tuple[str, ...]:
    """Return the settings of 'all', 'none' or comma-separated names. Raise ValueError."""
    if text in ("all", "none"):
        return tuple(OTHER_SETTINGS) if text == "all" else ()
    try:
        return tuple(dict.fromkeys(find_name(name, OTHER_SETTINGS) for name in text.split(",")))
    except ValueError as error:
        raise ValueError(f"no setting is called like this: {error}, all, none") from error


MAX_POINTS = 16384
"""Token counts of a shape: as many as a sweep's default range has."""

NAME_COLUMNS = 36
"""Width of the names in the reports, unless one is longer."""

SETTINGS = Parameter("NAME,NAME,...", parse_settings)
LIMIT = Parameter("[CONDITION=]LIMIT", parse_limit)

EPILOG = """\b
Regret is the time of the choice over the time of the best kernel: 1 is perfect.

\b
--fail-above 1.05 looks at the worst regret that is more than noise where the table was swept, and at the mean of
shapes without a row. A condition is any report's name; :mean or :p90 behind it takes that instead of the worst.

\b
Examples:
  moesort-tune verify tables/gfx950.yaml
  moesort-tune verify tables/gfx950.yaml --settings none --fail-above 1.05
  moesort-tune verify tables/gfx950.yaml --settings masked,cold --seed 7 --fail-above masked=1.05
  moesort-tune verify tables/gfx950.yaml --fail-above no-table=1.15 --fail-above no-table:mean=1.02
  moesort-tune verify tables/gfx950.yaml --settings none --routing trace:routing.npz
  moesort-tune verify tables/gfx942.yaml --engine ray
"""


@click.command(epilog=EPILOG, short_help="Measure what a sweep did not, and say what the table's choices cost.")
@click.argument("table", type=FilePath())
@add_fleet_options(
    device_help="Numbers of devices, or all: one of each kind.", engine_help="This machine's GPUs, or Ray's."
)
@click.option("--kernels", "provider", type=ProviderChoice(), default=DEFAULT_PROVIDER, show_default=True)
@add_timing_option
@click.option("--points", type=IntRange(1, MAX_POINTS), help="Token counts for each shape. Default: 8, on host 4.")
@click.option(
    "--settings",
    type=SETTINGS,
    default="all",
    show_default=True,
    help=f"Beside those of the sweep: {', '.join(map(hyphenate, OTHER_SETTINGS))}.",
)
@click.option(
    "--routing",
    "routings",
    type=ROUTING,
    multiple=True,
    help="Also under zipf:EXPONENT, dirichlet:CONCENTRATION, trace:FILE. Repeatable.",
)
@add_margin_option
@click.option("--seed", type=SEED, default=1, show_default=True, help="Of points and inputs.")
@click.option(
    "--point-limit",
    type=POINT_LIMIT,
    default=POINT_LIMIT_SECONDS,
    show_default=True,
    help="Seconds after which a kernel counts as never ending.",
)
@click.option(
    "--fail-above", "limits", type=LIMIT, multiple=True, help="Exit 1 if a regret is higher (see below). Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(
    *,
    limits: tuple[tuple[str | None, str, float], ...],
    as_json: bool,
    point_limit: float,
    routings: tuple[NamedRouting, ...],
    engine: EngineName,
    devices: Devices,
    address: str,
    **options: Any,
) -> None:
    """Measure what the sweep of TABLE did not measure, and say what its choices cost beside others'."""
    fleet = build_fleet(engine, devices, address)
    named = tuple(dict.fromkeys(map(identify_trace, routings)))
    options["settings"] = select_settings(options["settings"], options["provider"])
    job = VerifyJob(point_limit_s=point_limit, routings=named, fleet=fleet, **options)
    regret_limits = [build_limit(job, *limit) for limit in limits]
    results = run_verification(job, LineListener(Console(stderr=True)))
    if as_json:
        print_json(build_data(results[0]) if fleet.is_one_device else [build_data(result) for result in results])
    else:
        print_result("\n\n".join(map(format_result, results)))
    raise_for_faults(results, regret_limits)


def select_settings(settings: tuple[str, ...], provider: str) -> tuple[str, ...]:
    """Return those of all settings that the provider's kernels have. Raise click.UsageError for others by name."""
    operation = find_operation(provider)
    known = list_other_settings(operation)
    others = [name for name in settings if name not in known]
    if others and settings != tuple(OTHER_SETTINGS):
        names = ", ".join(map(hyphenate, known))
        raise click.UsageError(f"{operation} has no setting {hyphenate(others[0])}; choose of {names}, all, none")
    return tuple(name for name in settings if name in known)


def raise_for_faults(results: Sequence[VerifyResult], limits: Sequence[RegretLimit]) -> None:
    """Raise MoesortTuneError for what could not be measured, and for regrets above their limits."""
    failed = dict.fromkeys(str(shape) for result in results for shape in result.failed)
    if failed:
        raise MoesortTuneError(
            f"not everything could be measured: the kernels crashed or did not end for {', '.join(failed)}"
        )
    several = len(results) > 1
    faults = [
        f"{result.facts.name}, {result.facts.compute_units} compute units: {fault}" if several else fault
        for result in results
        for limit in limits
        if (fault := result.find_fault(limit)) is not None
    ]
    if faults:
        raise MoesortTuneError("; ".join(faults))


def build_limit(job: VerifyJob, name: str | None, statistic: str, limit: float) -> RegretLimit:
    """Return a limit on one of the job's reports. Raise click.UsageError for a condition that it does not measure."""
    if name is None:
        return RegretLimit(limit)
    routings = [routing.routing for routing in job.routings]
    of_calls = OF_CALLS if find_operation(job.provider) == SORTING else ()
    measured = [AS_SWEPT, OTHER_SHAPES, NO_TABLE, *of_calls, *job.settings, *routings]
    try:
        return RegretLimit(limit, find_name(name, dict.fromkeys(measured)), statistic)
    except ValueError as error:
        raise click.UsageError(f"--fail-above names a condition that is not measured: {error}") from error


class LineListener:
    """Print a line on stderr for each setting, and on a terminal the current point."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def announce_setting(self, name: str, points: int) -> None:
        """Print the setting."""
        self._console.print(f"{name}: {points} points", markup=False, highlight=False)

    def announce_point(self, question: Question) -> None:
        """Print the point on a terminal."""
        if self._console.is_terminal:
            text = f"  {question.shape}, {question.tokens} tokens"
            self._console.print(f"{text:<40}", end="\r", markup=False, highlight=False)

    def report_left_out(self, name: str, reason: str) -> None:
        """Print the card that is not used."""
        self._console.print(format_left_out(name, reason), markup=False, highlight=False, soft_wrap=True)

    def report_failure(self, shape: Shape, reason: str) -> None:
        """Print the shape that is left out from here on."""
        self._console.print(f"{shape} is left out: {reason}", markup=False, highlight=False, soft_wrap=True)


def format_result(result: VerifyResult) -> str:
    """Return the reports as text."""
    device = f"{result.facts.name}, {result.facts.arch}, {result.facts.compute_units} compute units"
    operation = find_operation(result.facts.provider)
    device += "" if operation == SORTING else f", {operation}"
    swept = [f"swept: {line}" for line in format_swept(result.swept)]
    skew = [format_skew(result.skew, result.margin)] if result.skew else []
    width = max([NAME_COLUMNS, *(len(name) for report in result.reports for name, _ in list_regrets(report))])
    return "\n\n".join(
        ["\n".join([device, *swept]), *(format_report(report, width) for report in result.reports), *skew]
    )


def format_report(report: SettingReport, width: int) -> str:
    """Return the text of one setting: a line for each policy and group, and whether a constant does as well.

    width: of the names.
    """
    head = f"{report.setting} ({len(report.points)} points)"
    lines = [head, f"  {'':<{width}}{'mean':>7}{'p90':>8}{'worst':>8}  worst at"]
    lines += [_format_line(name, regret, width) for name, regret in list_regrets(report)]
    if report.as_good:
        who = "the table" if report.decider == "table" else "the rule"
        lines.append(f"  A single constant, tokens * experts > {report.constant}, does as well as {who} here.")
    return "\n".join(lines)


def list_regrets(report: SettingReport) -> Iterator[tuple[str, Regret]]:
    """Yield the name and the regret of each policy, and of each group of shapes, where the report has any."""
    yield from report.regrets.items()
    if report.setting in (OTHER_SHAPES, NO_TABLE):
        for group, (points, regret) in report.groups.items():
            yield f"{report.decider}, {group} ({points})", regret


def _format_line(name: str, regret: Regret, width: int) -> str:
    where = str(regret.worst_at) if regret.worst > 1 else "-"
    return f"  {name:<{width}}{regret.mean:>7.3f}{regret.p90:>8.3f}{regret.worst:>8.3f}  {where}"


def format_skew(skew: Skew, margin: float) -> str:
    """Return the sentence on whether skewed routing asks for a table of its own."""
    routings = ", ".join(skew.routings)
    if not skew.above_margin:
        return (
            f"Under skewed routing ({routings}) the table's regret exceeds the margin of {margin:g} at none of "
            f"{skew.points} points."
        )
    return (
        f"Under skewed routing ({routings}) the table's regret exceeds the margin of {margin:g} at {skew.above_margin} "
        f"of {skew.points} points, at most {skew.worst:.3f}."
    )


def build_data(result: VerifyResult) -> dict[str, object]:
    """Return the reports as plain data."""
    return {
        "arch": result.facts.arch,
        "device": result.facts.name,
        "compute_units": result.facts.compute_units,
        "revision": result.facts.revision,
        "operation": find_operation(result.facts.provider),
        "swept": [
            {
                "num_experts": row.num_experts,
                "topk": row.topk,
                "tokens": row.swept_range,
                "points": row.evidence.points,
            }
            for row in result.swept
        ],
        "reports": [build_report_data(report) for report in result.reports],
        "skew": None if result.skew is None else asdict(result.skew),
        "failed": {str(shape): reason for shape, reason in result.failed.items()},
    }


def build_report_data(report: SettingReport) -> dict[str, object]:
    """Return one setting as plain data."""
    return {
        "setting": report.setting,
        "points": len(report.points),
        "swept": report.swept,
        "skewed": report.skewed,
        "constant": report.constant.work,
        "constant_below": report.constant.below,
        "constant_does_as_well": report.as_good,
        "above_margin": report.above_margin,
        "regret": {name: build_regret_data(regret) for name, regret in report.regrets.items()},
        "groups": {
            name: {"points": points, **build_regret_data(regret)} for name, (points, regret) in report.groups.items()
        },
    }


def build_regret_data(regret: Regret) -> dict[str, object]:
    """Return the regret of one policy as plain data."""
    where = regret.worst_at
    return {
        "mean": round(regret.mean, 4),
        "p90": round(regret.p90, 4),
        "worst": round(regret.worst, 4),
        "worst_settled": round(regret.worst_settled, 4),
        "worst_at": {
            "num_experts": where.shape.num_experts,
            "topk": where.shape.topk,
            "tokens": where.tokens,
            "moe_buf": where.condition.moe_buf,
            "masked": where.condition.masked,
        },
    }
