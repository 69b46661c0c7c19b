"""`moesort-tune verify`: measure points that no sweep measured, and report the cost of the table's choices."""

from typing import Any

import click
from rich.console import Console

from moesort_tune.cli.output import print_json, print_result
from moesort_tune.cli.parameters import (
    DEVICE,
    MARGIN,
    POINT_LIMIT,
    SEED,
    FilePath,
    FloatRange,
    IntRange,
    Parameter,
    ProviderChoice,
)
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import TIMINGS
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.job import POINT_LIMIT_SECONDS
from moesort_tune.tables.keeping import get_swept_range
from moesort_tune.verify.job import VerifyJob, VerifyResult, format_swept, run_verification
from moesort_tune.verify.verification import OTHER_SETTINGS, Question, SettingReport


def parse_settings(text: str) -> tuple[str, ...]:
    """Return the settings of 'all', 'none' or comma-separated names. Raise ValueError."""
    if text in ("all", "none"):
        return tuple(OTHER_SETTINGS) if text == "all" else ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in OTHER_SETTINGS:
            raise ValueError(f"no setting is called {name!r}; there are all, none, {', '.join(OTHER_SETTINGS)}")
    return names


MAX_POINTS = 16384
"""Token counts of a shape: as many as a sweep's default range has."""

SETTINGS = Parameter("NAME,NAME,...", parse_settings)

EPILOG = """\b
Regret is the time of the choice over the time of the better kernel: 1 is perfect.

\b
Examples:
  moesort-tune verify tables/gfx950.yaml
  moesort-tune verify tables/gfx950.yaml --settings none --fail-above 1.05
"""


@click.command(epilog=EPILOG, short_help="Measure what a sweep did not, and say what the table's choices cost.")
@click.argument("table", type=FilePath())
@click.option("--device", "ordinal", type=DEVICE, default=0, show_default=True, help="Number of the device.")
@click.option("--kernels", "provider", type=ProviderChoice(), default="builtin", show_default=True)
@click.option("--timing", type=click.Choice(TIMINGS), default="graph", show_default=True)
@click.option("--points", type=IntRange(1, MAX_POINTS), help="Token counts for each shape. Default: 8, on host 4.")
@click.option("--settings", type=SETTINGS, default="all", show_default=True, help=f"{', '.join(OTHER_SETTINGS)}.")
@click.option("--margin", type=MARGIN, default=0.02, show_default=True, help="Less is a tie.")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Of points and inputs.")
@click.option(
    "--point-limit",
    type=POINT_LIMIT,
    default=POINT_LIMIT_SECONDS,
    show_default=True,
    help="Seconds after which a kernel counts as never ending.",
)
@click.option(
    "--fail-above",
    type=FloatRange(1),
    help="Exit 1 if the table's worst regret that is more than noise, or its mean on shapes without a row, is higher.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(fail_above: float | None, as_json: bool, point_limit: float, **options: Any) -> None:
    """Measure what the sweep of TABLE did not measure, and say what its choices cost beside others'."""
    job = VerifyJob(point_limit_s=point_limit, **options)
    result = run_verification(job, LineListener(Console(stderr=True)))
    if as_json:
        print_json(build_data(result))
    else:
        print_result(format_result(result))
    if result.failed:
        shapes = ", ".join(map(str, result.failed))
        raise MoesortTuneError(f"not everything could be measured: the kernels crashed or did not end for {shapes}")
    fault = None if fail_above is None else result.find_fault(fail_above)
    if fault is not None:
        raise MoesortTuneError(f"{fault}, above the limit of {fail_above}")


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

    def report_failure(self, shape: Shape, reason: str) -> None:
        """Print the shape that is left out from here on."""
        self._console.print(f"{shape} is left out: {reason}", markup=False, highlight=False, soft_wrap=True)


def format_result(result: VerifyResult) -> str:
    """Return the reports as text."""
    device = f"{result.facts.name}, {result.facts.arch}, {result.facts.compute_units} compute units"
    swept = [f"swept: {line}" for line in format_swept(result.swept)]
    return "\n\n".join(["\n".join([device, *swept]), *map(format_report, result.reports)])


def format_report(report: SettingReport) -> str:
    """Return the text of one setting: a line for each policy, and whether a constant does as well."""
    lines = [f"{report.setting} ({len(report.points)} points)", f"  {'':<24}{'mean':>7}{'worst':>8}  worst at"]
    for name, regret in report.regrets.items():
        where = str(regret.worst_at) if regret.worst > 1 else "-"
        lines.append(f"  {name:<24}{regret.mean:>7.3f}{regret.worst:>8.3f}  {where}")
    if report.as_good:
        lines.append(f"  A single constant, tokens * experts > {report.constant}, does as well as the table here.")
    return "\n".join(lines)


def build_data(result: VerifyResult) -> dict[str, object]:
    """Return the reports as plain data."""
    return {
        "arch": result.facts.arch,
        "device": result.facts.name,
        "compute_units": result.facts.compute_units,
        "revision": result.facts.revision,
        "swept": [
            {
                "num_experts": row.num_experts,
                "topk": row.topk,
                "tokens": get_swept_range(row),
                "points": row.evidence.points,
            }
            for row in result.swept
        ],
        "reports": [build_report_data(report) for report in result.reports],
        "failed": {str(shape): reason for shape, reason in result.failed.items()},
    }


def build_report_data(report: SettingReport) -> dict[str, object]:
    """Return one setting as plain data."""
    return {
        "setting": report.setting,
        "points": len(report.points),
        "constant": report.constant,
        "constant_does_as_well": report.as_good,
        "regret": {
            name: {
                "mean": round(regret.mean, 4),
                "worst": round(regret.worst, 4),
                "worst_settled": round(regret.worst_settled, 4),
                "worst_at": {
                    "num_experts": regret.worst_at.shape.num_experts,
                    "topk": regret.worst_at.shape.topk,
                    "tokens": regret.worst_at.tokens,
                },
            }
            for name, regret in report.regrets.items()
        },
    }
