"""`moesort-tune models`: list the presets that --model takes."""

from collections.abc import Iterator
from typing import Any

import click
from rich import box
from rich.table import Table as Grid

from moesort_tune.cli.output import create_console, print_json, print_result
from moesort_tune.cli.parameters import INTEGERS
from moesort_tune.domain.presets import MODELS, list_model_shapes
from moesort_tune.domain.vocabulary import MAX_EXPERTS
from moesort_tune.replay.steps import SERVED

RANKS = (4, 8)
"""Ranks over which a node spreads the experts."""

EPILOG = """\b
sweep --model deepseek-v3         measures both shapes, under every condition
sweep --model deepseek-v3 --ep 8  measures both, masked as on one of eight ranks

\b
Examples:
  moesort-tune models
  moesort-tune models --ep 2,4,16
  moesort-tune models --json
"""


@click.command(epilog=EPILOG)
@click.option(
    "--ep", "ranks", type=INTEGERS, default=",".join(map(str, RANKS)), show_default=True, help="Numbers of ranks."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(ranks: list[int], as_json: bool) -> None:
    """List the models that --model knows, with the shapes that serving them asks for.

    shape: experts/topk, as a row of a table has them. shared: the shape where a framework fuses the shared expert as
    one more expert. layers, model_dim: what ab replays. --ep N: experts of a rank where N ranks share them; the shape
    stays, and a mask leaves out the experts of other ranks.
    """
    if any(not 1 <= number <= MAX_EXPERTS for number in ranks):
        raise click.UsageError(f"--ep takes ranks from 1 to {MAX_EXPERTS}")
    ranks = list(dict.fromkeys(ranks))
    listed = [build_model(name, ranks) for name in MODELS]
    if as_json:
        print_json(listed)
        return
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column("model")
    for heading in ("shape", "shared", "layers", "model_dim", *(f"--ep {one}" for one in ranks)):
        grid.add_column(heading, justify="right")
    for model in listed:
        grid.add_row(*_list_cells(model))
    create_console().print(grid)
    print_result(
        "shape: experts/topk; shared: with the shared expert fused as one more; --ep N: experts of the largest rank"
    )


def _list_cells(model: dict[str, Any]) -> Iterator[str]:
    yield model["model"]
    yield "{num_experts}/{topk}".format(**model)
    yield ", ".join("{num_experts}/{topk}".format(**fused) for fused in model["shared_fused"])
    yield from (str(model[name]) for name in ("layers", "model_dim"))
    yield from map(str, model["experts_of_a_rank"].values())


def build_model(name: str, ranks: list[int]) -> dict[str, Any]:
    """Return one model as plain data. experts_of_a_rank: by the number of ranks; the last one may have fewer."""
    shape, *fused = list_model_shapes(name)
    served = SERVED[name]
    return {
        "model": name,
        "num_experts": shape.num_experts,
        "topk": shape.topk,
        "shared_fused": [{"num_experts": one.num_experts, "topk": one.topk} for one in fused],
        "layers": served.layers,
        "model_dim": served.model_dim,
        "experts_of_a_rank": {number: -(-shape.num_experts // number) for number in ranks},
    }
