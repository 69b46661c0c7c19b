"""`moesort-tune show`: print a table for a person, as a picture, or one decision with its reason."""

from pathlib import Path
from typing import Any

import click
import msgspec

from moesort_tune.cli.default_table import find_default_table
from moesort_tune.cli.output import create_console, print_json, print_remark, print_result
from moesort_tune.cli.parameters import COMPUTE_UNITS, MODEL_SHAPES, FilePath, Parameter, ProviderChoice, parse_words
from moesort_tune.cli.rows_shown import SORTS, select_shapes, sort_rows
from moesort_tune.cli.table_text import print_table
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import ALIGN_CONDITION, TIMINGS, Timing
from moesort_tune.numerals import parse_integer, quote
from moesort_tune.providers.facts import registry
from moesort_tune.runtime import Dispatcher, Explanation
from moesort_tune.runtime.search import compute_digest
from moesort_tune.tables.files import load, load_bytes, read
from moesort_tune.tables.schema import Table

Call = tuple[int, int, int]
"""Tokens, experts and topk of one call."""

FORMATS = ("png", "svg", "pdf")
"""Formats of pictures."""

LARGEST = 2**31 - 1
"""Largest int that the exported header takes."""


def parse_call(text: str) -> Call:
    """Return tokens, experts and topk of '32,128,4'; raise ValueError."""
    try:
        tokens, num_experts, topk = (parse_integer(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"expected TOKENS,EXPERTS,TOPK like 32,128,4, got {quote(text)}") from None
    if tokens < 0 or num_experts < 1 or topk < 1:
        raise ValueError(f"expected TOKENS >= 0, EXPERTS >= 1 and TOPK >= 1, got {quote(text)}")
    if max(tokens, num_experts, topk) > LARGEST:
        raise ValueError(f"expected TOKENS, EXPERTS and TOPK of at most {LARGEST}, got {quote(text)}")
    return tokens, num_experts, topk


CALL = Parameter("TOKENS,EXPERTS,TOPK", parse_call)
DEVICE_ID = Parameter("ID", parse_words)

EPILOG = """\b
Examples:
  moesort-tune show
  moesort-tune show tables/gfx950.yaml --model gpt-oss-120b --plot gfx950.svg
  moesort-tune show tables/gfx950.yaml --sort loss
  moesort-tune show tables/gfx942.yaml --lookup 32,128,4 --compute-units 304
  moesort-tune show tables/gfx942.yaml --lookup 32,129,4 --masked
"""


@click.command(epilog=EPILOG)
@click.argument("table", type=FilePath(), required=False)
@click.option("--model", "models", type=MODEL_SHAPES, multiple=True, help="Only the rows of this preset. Repeatable.")
@click.option("--sort", "order", type=click.Choice(list(SORTS)), help="Order of the rows. Default: as in the file.")
@click.option("--lookup", type=CALL, help="Print the decision for one call, and why.")
@click.option("--compute-units", type=COMPUTE_UNITS, help="Of the device that --lookup is for.")
@click.option("--kernels", type=ProviderChoice(), help="Whose kernels --lookup is for.")
@click.option("--timing", type=click.Choice(TIMINGS), help="How the kernels of --lookup are launched.")
@click.option("--device-id", type=DEVICE_ID, help="Of the product that --lookup is for: 0x74a1, or NVIDIA's name.")
@click.option("--no-moe-buf", is_flag=True, help="The call of --lookup zeroes no moe_buf.")
@click.option("--masked", is_flag=True, help="The call of --lookup brings a local_expert_mask, EXPERTS its length.")
@click.option("--plot", type=FilePath(dir_okay=False), help="Draw the samples into this picture.")
@click.option("--format", "picture_format", type=click.Choice(FORMATS), help="Of --plot. Default: as its name ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    *,
    table: Path | None,
    lookup: Call | None,
    models: tuple[list[Shape], ...],
    order: str | None,
    plot: Path | None,
    picture_format: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print TABLE: where it was measured and, for each shape, from how many tokens which kernel is chosen.

    Without TABLE the only one in ./tables is meant, else the only one that ships with this package.
    """
    if picture_format is not None and plot is None:
        raise click.UsageError("--format is of --plot, which names the picture")
    path = table or find_default_table()
    if lookup is not None:
        _print_decision(path, lookup, as_json, **options)
        return
    data = read(path)
    loaded = load_bytes(path, data)
    if models:
        loaded = select_shapes(loaded, [shape for shapes in models for shape in shapes])
    if order is not None:
        loaded = sort_rows(loaded, order)
    if plot is not None:
        from moesort_tune.cli.panels import read_panels
        from moesort_tune.cli.plot import draw

        draw(read_panels(path, loaded), plot, picture_format)
        print_remark(f"drawn into {plot}")
    if as_json:
        print_json({"path": path, "sha256": compute_digest(data), **msgspec.to_builtins(loaded)})
    else:
        print_table(create_console(), path, loaded, compute_digest(data))


def _print_decision(
    path: Path,
    asked: Call,
    as_json: bool,
    *,
    compute_units: int | None,
    kernels: str | None,
    timing: Timing | None,
    device_id: str | None,
    no_moe_buf: bool,
    masked: bool,
) -> None:
    """Print the decision of a serving process, by the entries that match the options."""
    table = load(path)
    dispatcher = Dispatcher.load(
        path,
        arch=table.arch,
        compute_units=compute_units,
        kernels=kernels or _choose_provider(table),
        timing=timing or _choose_timing(table),
        device_id=device_id,
    )
    explanation = dispatcher.explain(*asked, moe_buf=not no_moe_buf, masked=masked)
    if as_json:
        print_json(_build_data(explanation))
        return
    print_result(str(explanation))
    for sentence in explanation.not_used:
        print_remark(sentence)


def _choose_provider(table: Table) -> str:
    """Return the first registered provider that the table has an entry of, else the first that it names."""
    named = [entry.kernels.provider for entry in table.tables]
    return next((name for name in registry.list_names() if name in named), named[0])


def _choose_timing(table: Table) -> Timing:
    """Return graph, unless every entry was timed otherwise."""
    timings = {entry.key.timing for entry in table.tables}
    return "eager" if timings == {"eager"} else "graph"


def _build_data(explanation: Explanation) -> dict[str, object]:
    entry = explanation.entry
    return {
        "tokens": explanation.tokens,
        "num_experts": explanation.num_experts,
        "topk": explanation.topk,
        "operation": explanation.operation,
        **(explanation.condition or ALIGN_CONDITION)._asdict(),
        "policy": explanation.policy,
        "kernel": explanation.kernel,
        "reason": explanation.reason.value,
        "tie": explanation.tie,
        "rows": explanation.rows,
        "table": explanation.table,
        "entry": dict(entry.key._asdict()) if entry else None,
        "not_used": explanation.not_used,
        "sentence": str(explanation),
    }
