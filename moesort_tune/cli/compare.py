"""`moesort-tune compare`: say at which points two sweeps took the same time, and at which not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from moesort_tune.cli.compare_text import build_report, print_markdown, print_text
from moesort_tune.cli.output import create_console, print_json
from moesort_tune.cli.parameters import FilePath, FloatRange, Parameter
from moesort_tune.cli.table_text import format_count
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.change import DEFAULT_THRESHOLD, Change
from moesort_tune.numerals import parse_number, quote
from moesort_tune.sweep.comparison import ComparedPoint, Missing, SweepComparison, compare_samples, read_sweep
from moesort_tune.sweep.environment import find_differences
from moesort_tune.tables.errors import format_path


class RatioLimit(NamedTuple):
    """The largest ratio that passes. is_mean: of a kernel's geometric mean, else of each point that is SLOWER."""

    limit: float
    is_mean: bool = False


def parse_limit(text: str) -> RatioLimit:
    """Return the limit of '1.05' or 'mean=1.02'. Raise ValueError."""
    name, equals, number = text.rpartition("=")
    limit = parse_number(number)
    if limit < 1 or (equals and name != "mean"):
        raise ValueError(f"expected a ratio from 1 on, or mean= and one, like 1.05 or mean=1.02, got {quote(text)}")
    return RatioLimit(limit, is_mean=bool(equals))


LIMIT = Parameter("[mean=]LIMIT", parse_limit)

EPILOG = """\b
SAME       differences of the threshold and more are ruled out
SLOWER     B takes longer for certain, and the threshold is not ruled out
FASTER     B takes less time for certain, and the threshold is not ruled out
AMBIGUOUS  the times scatter too much to rule out either, or fewer than 8 rounds were timed

\b
Examples:
  moesort-tune compare before/gfx950.yaml after/gfx950.yaml
  moesort-tune compare before.samples.csv after.samples.csv --fail-above 1.05 --fail-above mean=1.01
  moesort-tune compare main.yaml branch.yaml --markdown > comment.md
"""


@click.command(epilog=EPILOG)
@click.argument("before", metavar="A", type=FilePath())
@click.argument("after", metavar="B", type=FilePath())
@click.option(
    "--threshold",
    type=FloatRange(0, 1, min_open=True),
    default=DEFAULT_THRESHOLD,
    show_default=True,
    help="Relative difference to look for.",
)
@click.option(
    "--fail-above",
    "limits",
    type=LIMIT,
    multiple=True,
    help="Exit 1 if a point is SLOWER by a higher ratio, or a kernel's mean is higher. Repeatable.",
)
@click.option("--all", "show_all", is_flag=True, help="Print every point, not only the largest changes.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--json", "as_json", is_flag=True, help="Print every point as JSON.")
def compare(
    *,
    before: Path,
    after: Path,
    threshold: float,
    limits: tuple[RatioLimit, ...],
    show_all: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Say whether each kernel takes the same time in sweep B as in sweep A, at every point that both have measured.

    A and B are files of samples, or tables with their samples beside them. The answers rest on the interval of the
    ratio B / A, with 99 % confidence. Differences between the environments of the two are printed, and rows and token
    counts that only one of them has.

    The exit status is 1 with --fail-above where a limit is exceeded or B lacks rows of A, and where the two have no
    point in common. Without --fail-above no difference is a failure.
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other; give only one")
    compared = compare_samples(read_sweep(before), read_sweep(after), threshold)
    if not compared.points:
        raise MoesortTuneError(f"{before} and {after} have no point in common: {_describe_alone(compared)}")
    names = (format_path(before), format_path(after))
    if as_json:
        print_json(build_data(compared, names, threshold))
    else:
        report = build_report(compared, names, threshold, show_all=show_all)
        print_markdown(report) if markdown else print_text(create_console(), report)
    if faults := [fault for limit in limits for fault in find_faults(compared, limit)]:
        raise MoesortTuneError("; ".join(dict.fromkeys(faults)))


def _describe_alone(compared: SweepComparison) -> str:
    alone = (f"{side} has {'; '.join(missing.rows)}" for side, missing in _list_missing(compared))
    return ", ".join(alone) or "they measured other token counts"


def _list_missing(compared: SweepComparison) -> Iterator[tuple[str, Missing]]:
    return ((side, one) for side, one in (("A", compared.only_before), ("B", compared.only_after)) if one.rows)


def find_faults(compared: SweepComparison, limit: RatioLimit) -> Iterator[str]:
    """Yield a sentence for each way in which B is worse than the limit allows."""
    if compared.only_before.rows:
        rows = sum(map(len, compared.only_before.rows.values()))
        yield f"B lacks {format_count(rows, 'row', 'rows')} of A"
    if limit.is_mean:
        for kernel in compared.summarize():
            if kernel.mean > limit.limit:
                yield f"{kernel.kernel} takes {kernel.mean:.4g} times as long in the mean, above {limit.limit:g}"
        return
    slower = [point for point in compared.select(Change.SLOWER) if point.ratio.median > limit.limit]
    if slower:
        points = format_count(len(slower), "point is", "points are")
        yield f"{points} slower than {limit.limit:g} times, at most {slower[0].ratio.median:.4g} times ({slower[0]})"


def build_data(compared: SweepComparison, names: tuple[str, str], threshold: float) -> dict[str, Any]:
    """Return the comparison as plain data."""
    sides = ((names[0], compared.before, compared.only_before), (names[1], compared.after, compared.only_after))
    return {
        "threshold": threshold,
        **{
            side: {"file": name, "environment": environment, "alone": {"rows": alone.rows, "points": alone.points}}
            for side, (name, environment, alone) in zip(("before", "after"), sides, strict=True)
        },
        "differences": [one._asdict() for one in find_differences(compared.before, compared.after)],
        "kernels": [
            {"provider": one.provider, "kernel": one.kernel, "counts": one.counts, "mean": one.mean}
            for one in compared.summarize()
        ],
        "points": [_build_point(point) for point in compared.points],
    }


def _build_point(point: ComparedPoint) -> dict[str, Any]:
    return {
        "provider": point.provider,
        "num_experts": point.row.shape.num_experts,
        "topk": point.row.shape.topk,
        **point.row.condition._asdict(),
        "tokens": point.tokens,
        "kernel": point.kernel,
        "card": point.card,
        "before_us": point.before_us,
        "after_us": point.after_us,
        "ratio": point.ratio.round_values(),
        "change": point.change,
    }
