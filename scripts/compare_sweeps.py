"""Compare several sweeps of one device: they agree if they choose alike outside the union of their ties.

    python scripts/compare_sweeps.py a/sm_90.yaml b/sm_90.yaml ...

Print a line for each row of each condition: the token counts inside ties, the share of them at which the tables
differ, and any token count outside at which they do. Exit with 1 if there is one.
"""

import sys
from pathlib import Path

import click

from moesort_tune.tables.schema import Row
from moesort_tune.tables.store import load


def list_choices(row: Row, tokens: range) -> list[str]:
    """Return the kernel that the row chooses at each token count."""
    chosen = []
    for count in tokens:
        steps = [kernel for first, kernel in row.policy if first <= count]
        chosen.append(str(steps[-1]))
    return chosen


def are_in_ties(rows: list[Row], tokens: range) -> list[bool]:
    """Return whether each token count is in a tie of any of the rows."""
    return [any(row.list_tied(count) for row in rows) for count in tokens]


@click.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--tokens", default=16384, show_default=True, help="compare 1 to this many tokens")
def main(tables: tuple[Path, ...], tokens: int) -> None:
    """Compare TABLES row by row, each condition by itself."""
    counts = range(1, tokens + 1)
    swept = [
        {(entry.condition, row.num_experts, row.topk): row for entry in load(path).tables for row in entry.rows}
        for path in tables
    ]
    shapes = sorted(set.intersection(*(set(rows) for rows in swept)))
    failed = False
    for key in shapes:
        condition, num_experts, topk = key
        rows = [table[key] for table in swept]
        tied = are_in_ties(rows, counts)
        differ = [len(set(column)) > 1 for column in zip(*(list_choices(row, counts) for row in rows), strict=True)]
        outside = [count for count, tie, flip in zip(counts, tied, differ, strict=True) if flip and not tie]
        flips = sum(flip and tie for tie, flip in zip(tied, differ, strict=True))
        share = flips / max(1, sum(tied))
        name = " ".join([f"{num_experts}/{topk}", *condition.list_unusual()])
        print(f"{name}: {sum(tied)} token counts in ties, choices differ at {share:.0%} of them", end="")
        print(f"; OUTSIDE at {outside[0]} to {outside[-1]} ({len(outside)} token counts)" if outside else "")
        failed = failed or bool(outside)
    print(f"{len(tables)} sweeps, {len(shapes)} rows: {'they disagree' if failed else 'they agree outside their ties'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
