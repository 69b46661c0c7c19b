"""Compare several sweeps of one device: they agree if they choose alike outside the union of their ties.

    python scripts/compare_sweeps.py a/sm_90.yaml b/sm_90.yaml ...

Print a line for each row of each condition: the token counts inside ties, the share of them at which the tables
differ, and any token count outside at which they do. Exit with 1 if there is one, or a row that a table lacks.
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


def list_rows(path: Path) -> dict[tuple[str, int, int], Row]:
    """Return the rows of a table by their entry's key, experts and topk."""
    return {(str(entry.key), row.num_experts, row.topk): row for entry in load(path).tables for row in entry.rows}


@click.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(tables: tuple[Path, ...]) -> None:
    """Compare TABLES row by row, each condition by itself, where all of them were measured."""
    swept = [list_rows(path) for path in tables]
    shared = sorted(set.intersection(*(set(rows) for rows in swept)))
    missing = sorted(set.union(*(set(rows) for rows in swept)) - set(shared))
    failed = not shared or bool(missing)
    for key in shared:
        rows = [table[key] for table in swept]
        ranges = [row.swept_range for row in rows]
        counts = range(max(first for first, _ in ranges), min(last for _, last in ranges) + 1)
        tied = are_in_ties(rows, counts)
        differ = [len(set(column)) > 1 for column in zip(*(list_choices(row, counts) for row in rows), strict=True)]
        outside = [count for count, tie, flip in zip(counts, tied, differ, strict=True) if flip and not tie]
        flips = sum(flip and tie for tie, flip in zip(tied, differ, strict=True))
        share = flips / max(1, sum(tied))
        print(f"{format_key(key)}: {sum(tied)} token counts in ties, choices differ at {share:.0%} of them", end="")
        print(f"; OUTSIDE at {outside[0]} to {outside[-1]} ({len(outside)} token counts)" if outside else "")
        failed = failed or bool(outside)
    for key in missing:
        print(f"{format_key(key)}: not in all tables")
    verdict = "they disagree" if failed else "they agree outside their ties"
    print(f"{len(tables)} sweeps, {len(shared)} rows: {verdict if shared else 'there is nothing to compare'}")
    sys.exit(1 if failed else 0)


def format_key(key: tuple[str, int, int]) -> str:
    """Return 'experts/topk' and the entry's key."""
    entry, num_experts, topk = key
    return f"{num_experts}/{topk} ({entry})"


if __name__ == "__main__":
    main()
