"""Model the times of AITER's two sorting kernels on gfx950, print how well that fits what others published, and write
the modelled table.

    python scripts/model_aiter.py            # the fit, its errors, the gaps, the decisions, the switches
    python scripts/model_aiter.py --write    # and moesort_tune/data/tables/modelled/gfx950-aiter.yaml
    python scripts/model_aiter.py --check    # exit 1 if that file is not what --write would write

Nothing here was measured on AMD hardware by this project: scripts/aiter_model/cycles.csv holds cycles that an emulator
estimates for the machine code of AITER commit e4048607, scripts/aiter_model/published.csv times that others published.
docs/modelled.md explains the method.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import click
from aiter_model.decisions import list_decisions, list_policies, rate
from aiter_model.fit import Errors, Model, compute_errors, join, leave_out
from aiter_model.gaps import GapRange, find_range, fit_modes
from aiter_model.points import REPLAY, UNNAMED, Cycles, Point, Shape, read_points
from aiter_model.table import Chooser, build_table

from moesort_tune.shipped import get_tables_folder
from moesort_tune.tables.writer import to_yaml

FILE = get_tables_folder() / "modelled" / "gfx950-aiter.yaml"
HEADER = """\
# AITER's own kernels on gfx950, by a model: cycles that an emulator estimates, fitted to times that others published.
# Nobody measured these rows. They are used only where this file is named, with MOESORT_TUNE_TABLE or in a call.
# {error}.
# A tie is a range where the launch gap decides: within it a row goes by the gap of replayed graphs ({gap:.2f} us).
# Written by scripts/model_aiter.py; docs/modelled.md says what the model cannot see and how to refute it.
# `moesort-tune sweep --arch gfx950 --kernels aiter` on your machine makes a table that knows more.
"""
JUMP = (Shape(128, 4), 32, 40)
"""A jump of oneshot's published time, in a mode whose points are not among those of the fit."""
DOUBTFUL = Shape(256, 8)


@click.command()
@click.option("--write", is_flag=True, help="Write the modelled table.")
@click.option("--check", is_flag=True, help="Exit 1 if the modelled table is not up to date.")
def main(write: bool, check: bool) -> None:
    """Print the fit; with an option, write or check the table."""
    points, cycles = read_points(), Cycles()
    text = format_table(points, cycles)
    if write:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text, encoding="utf-8")
    if check and (not FILE.exists() or FILE.read_text(encoding="utf-8") != text):
        raise click.ClickException(f"{FILE} is not what `python scripts/model_aiter.py --write` writes")
    for section in (list_fit_lines, list_gap_lines, list_decision_lines, list_switch_lines):
        click.echo("\n".join(section(points, cycles)) + "\n")


def list_fit_lines(points: Sequence[Point], cycles: Cycles) -> Iterator[str]:
    """Yield the fit to the replayed graphs and its errors."""
    replayed = select_replayed(points)
    model = fit_modes(points, cycles)[REPLAY]
    errors = compute_errors(model, replayed, cycles)
    gpus = Counter(point.gpu for point in replayed)
    named = ", ".join(
        f"{count} of {gpu if gpu != UNNAMED else 'a GPU that is not named'}" for gpu, count in gpus.items()
    )
    yield f"fit to {len(replayed)} published times of replayed graphs ({named}):"
    gap = f"{model.gap_us:.2f} us for multiphase"
    yield f"  t = cycles / {model.clock_ghz:.2f} GHz + {model.constant_us:.2f} us, + {gap}"
    yield f"  {errors.rms_us:.2f} us rms, {errors.mean_ratio:.1%} mean"
    one = measure_one_left_out(points, cycles)
    yield f"  leaving one out: {one.rms_us:.2f} us rms, {one.mean_ratio:.1%} mean"
    for experts, left_out in leave_out(replayed, cycles, lambda point: point.shape.num_experts):
        yield f"  leaving {experts} experts out: {left_out.rms_us:.2f} us rms, {left_out.mean_ratio:.1%} mean"
    yield format_jump(points, cycles, model)


def format_jump(points: Sequence[Point], cycles: Cycles, model: Model) -> str:
    """Return the modelled and the published difference of oneshot's times between two token counts."""
    shape, low, high = JUMP
    modelled = (cycles.count("oneshot", shape, high) - cycles.count("oneshot", shape, low)) * model.us_per_cycle
    published = {p.tokens: p.us for p in points if (p.shape, p.kernel) == (shape, "oneshot")}
    jump = published[high] - published[low]
    return f"  oneshot with {shape} from {low} to {high} tokens: modelled +{modelled:.2f} us, published +{jump:.2f} us"


def list_gap_lines(points: Sequence[Point], cycles: Cycles) -> Iterator[str]:
    """Yield the gap that each way of timing implies."""
    without = fit_modes(points, Cycles(hits=False))
    yield "launch gap by timing mode, in us (second figure: cycles without hits in L1):"
    for mode, model in fit_modes(points, cycles).items():
        yield f"  {mode:<12}{model.gap_us:>6.2f}{without[mode].gap_us:>7.2f}"
    gaps = find_range(points)
    yield f"  range: {gaps.low_us:.2f} to {gaps.high_us:.2f}"


def list_decision_lines(points: Sequence[Point], cycles: Cycles) -> Iterator[str]:
    """Yield what each policy loses at the published decisions."""
    decisions = list_decisions(points)
    yield f"regret at {len(decisions)} published decisions:{'mean':>15}{'worst':>8}  worst at"
    for name, policy in list_policies(decisions, fit_modes(points, cycles), cycles):
        regret = rate(decisions, policy)
        where = f"{regret.at.shape}, {regret.at.tokens} tokens" if regret.worst > 1 else "-"
        yield f"  {name:<42}{regret.mean:>6.3f}{regret.worst:>8.3f}  {where}"


def list_switch_lines(points: Sequence[Point], cycles: Cycles) -> Iterator[str]:
    """Yield each shape's last token count of oneshot, by the gaps of the range and of replayed graphs."""
    model, gaps = fit_modes(points, cycles)[REPLAY], find_range(points)
    chooser = Chooser(model, gaps, cycles)
    yield "last token count of oneshot by the launch gap (0: never):"
    yield f"  {'shape':<8}{f'{gaps.low_us:.2f} us':>8}{f'{model.gap_us:.2f} us':>9}{f'{gaps.high_us:.2f} us':>9}"
    for shape in cycles.shapes:
        ends = [find_end(chooser, model._replace(gap_us=gap), shape) for gap in (gaps[0], model.gap_us, gaps[1])]
        yield f"  {shape!s:<8}{ends[0]:>8}{ends[1]:>9}{ends[2]:>9}"


def find_end(chooser: Chooser, model: Model, shape: Shape) -> int:
    """Return the last token count before the first at which a model takes multiphase."""
    last = chooser.build_row(shape, "").evidence.tokens or (1, 1)
    counts = range(1, last[1] + 1)
    return next((t - 1 for t in counts if chooser.choose_kernel(model, shape, t) != "oneshot"), last[1])


def format_table(points: Sequence[Point], cycles: Cycles) -> str:
    """Return the text of the modelled table's file."""
    model, gaps = fit_modes(points, cycles)[REPLAY], find_range(points)
    doubt = {DOUBTFUL: "; uncertain: the launch gap alone decides"}
    table = build_table(Chooser(model, gaps, cycles), format_source(points, cycles), doubt)
    return HEADER.format(error=format_error(points, cycles, gaps), gap=model.gap_us) + to_yaml(table)


def format_source(points: Sequence[Point], cycles: Cycles) -> str:
    """Return the source of a row, with the error that it has to be read with."""
    one = measure_one_left_out(points, cycles)
    return f"scripts/model_aiter.py, {one.rms_us:.2f} us rms and {one.mean_ratio:.1%} mean off where it was not fitted"


def format_error(points: Sequence[Point], cycles: Cycles, gaps: GapRange) -> str:
    """Return the error statement of the table, as lines of a comment."""
    replayed = select_replayed(points)
    errors = compute_errors(fit_modes(points, cycles)[REPLAY], replayed, cycles)
    outs = [left_out.rms_us for _, left_out in leave_out(replayed, cycles, lambda point: point.shape.num_experts)]
    return (
        f"Its error: {errors.rms_us:.2f} us rms at the {len(replayed)} published times that it is fitted to,"
        f" {measure_one_left_out(points, cycles).mean_ratio:.1%} mean\n"
        f"# leaving one out, {min(outs):.2f} to {max(outs):.2f} us rms leaving out an expert count. The launch gap lies"
        f" between {gaps.low_us:.1f} and {gaps.high_us:.1f} us by\n# timing mode"
    )


def select_replayed(points: Sequence[Point]) -> list[Point]:
    """Return the points of the fit."""
    return [point for point in points if point.mode == REPLAY]


def measure_one_left_out(points: Sequence[Point], cycles: Cycles) -> Errors:
    """Return the error at each point of the fit of a fit to the others."""
    return join([errors for _, errors in leave_out(select_replayed(points), cycles, lambda point: point)])


if __name__ == "__main__":
    main()
