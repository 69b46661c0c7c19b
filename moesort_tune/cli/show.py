"""`moesort-tune show`: a table for a person, as a picture, or one decision with its reason."""

from pathlib import Path
from typing import Any

import click
import msgspec

from moesort_tune.cli.output import print_json, print_result, remark, results
from moesort_tune.cli.parameters import COMPUTE_UNITS, FilePath, Parameter
from moesort_tune.cli.table_text import print_table
from moesort_tune.cli.tables_at_hand import default_table
from moesort_tune.domain.vocabulary import Timing
from moesort_tune.numerals import parse_integer, quoted
from moesort_tune.runtime import Dispatcher, Explanation
from moesort_tune.tables.files import load
from moesort_tune.tables.schema import Provider, Table

Call = tuple[int, int, int]
"""Tokens, experts and topk of one call."""

LARGEST = 2**31 - 1
"""Of the int that the exported header takes."""


def parse_call(text: str) -> Call:
    """Tokens, experts and topk of '32,128,4'; raises ValueError."""
    try:
        tokens, num_experts, topk = (parse_integer(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"expected TOKENS,EXPERTS,TOPK like 32,128,4, got {quoted(text)}") from None
    if tokens < 0 or num_experts < 1 or topk < 1:
        raise ValueError(f"expected TOKENS >= 0, EXPERTS >= 1 and TOPK >= 1, got {quoted(text)}")
    if max(tokens, num_experts, topk) > LARGEST:
        raise ValueError(f"expected TOKENS, EXPERTS and TOPK of at most {LARGEST}, got {quoted(text)}")
    return tokens, num_experts, topk


CALL = Parameter("TOKENS,EXPERTS,TOPK", parse_call)

EPILOG = """\b
Examples:
  moesort-tune show
  moesort-tune show tables/gfx950.yaml --plot gfx950.png
  moesort-tune show tables/gfx942.yaml --lookup 32,128,4 --compute-units 304
"""


@click.command(epilog=EPILOG)
@click.argument("table", type=FilePath(), required=False)
@click.option("--lookup", type=CALL, help="Print the decision for one call, and why.")
@click.option("--compute-units", type=COMPUTE_UNITS, help="Of the device that --lookup is for.")
@click.option("--kernels", type=click.Choice(["builtin", "aiter"]), help="Whose kernels --lookup is for.")
@click.option("--timing", type=click.Choice(["graph", "eager"]), help="How the kernels of --lookup are launched.")
@click.option("--plot", type=FilePath(dir_okay=False), help="Draw the samples into this PNG file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(table: Path | None, lookup: Call | None, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Print TABLE: where it was measured and, for each shape, from how many tokens which kernel is chosen.

    Without TABLE the only one in ./tables is meant, else the only one that ships with this package.
    """
    path = table or default_table()
    if lookup is not None:
        _print_decision(path, lookup, as_json, **options)
        return
    loaded = load(path)
    if plot is not None:
        from moesort_tune.cli.plot import draw

        draw(path, loaded, plot)
        remark(f"drawn into {plot}")
    if as_json:
        print_json({"path": path, **msgspec.to_builtins(loaded)})
    else:
        print_table(results(), path, loaded)


def _print_decision(
    path: Path,
    asked: Call,
    as_json: bool,
    *,
    compute_units: int | None,
    kernels: Provider | None,
    timing: Timing | None,
) -> None:
    """What a serving process would be told, from the entries that the options leave."""
    table = load(path)
    dispatcher = Dispatcher.load(
        path,
        arch=table.arch,
        compute_units=compute_units,
        kernels=kernels or _only_provider(table),
        timing=timing or _only_timing(table),
    )
    told = dispatcher.explain(*asked)
    if as_json:
        print_json(_as_data(told))
        return
    print_result(str(told))
    for sentence in told.not_used:
        remark(sentence)


def _only_provider(table: Table) -> Provider:
    """builtin, unless the table knows nothing of these kernels."""
    return "builtin" if any(entry.kernels.provider == "builtin" for entry in table.tables) else "aiter"


def _only_timing(table: Table) -> Timing:
    """graph, unless every entry was timed otherwise."""
    timings = {entry.key.timing for entry in table.tables}
    return "eager" if timings == {"eager"} else "graph"


def _as_data(told: Explanation) -> dict[str, object]:
    entry = told.entry
    return {
        "tokens": told.tokens,
        "num_experts": told.num_experts,
        "topk": told.topk,
        "policy": told.policy,
        "kernel": told.kernel,
        "reason": told.reason.value,
        "tie": told.tie,
        "rows": told.rows,
        "table": told.table,
        "entry": dict(entry.key._asdict()) if entry else None,
        "not_used": told.not_used,
        "sentence": str(told),
    }
