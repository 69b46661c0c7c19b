"""Format a row in words, which claim nothing about token counts that were not measured, and the launch gap."""

from collections.abc import Iterator, Mapping
from typing import Final

from moesort_tune.domain.vocabulary import LAUNCH_MODES, MAX_TOKENS, KernelName, LaunchMode
from moesort_tune.tables.schema import LaunchGaps, Row, Tie

LAUNCH_MODES_IN_WORDS: Final[Mapping[LaunchMode, str]] = {
    "graph": "in one long graph",
    "replay": "in a graph, replayed",
    "eager": "launched one by one",
}


def format_launch_gaps(gaps: LaunchGaps) -> str:
    """Return what each further launch costs: '0.92 us in one long graph, ...'."""
    return ", ".join(f"{getattr(gaps, mode):.2f} us {LAUNCH_MODES_IN_WORDS[mode]}" for mode in LAUNCH_MODES)


def format_row(row: Row) -> str:
    """Return choices and ties in a line of their own: '1-24 oneshot | 25-64 multiphase (tie 19-24)'."""
    ties = [f"tie {format_ties(row)}"] if list_measured_ties(row) else []
    return f"{_format_steps(row)}{_format_notes(*_list_limit(row), *ties)}"


def format_choice(row: Row) -> str:
    """Return the choices by token ranges: '1-24 oneshot | 25-64 multiphase'."""
    return f"{_format_steps(row)}{_format_notes(*_list_limit(row))}"


def _format_steps(row: Row) -> str:
    return " | ".join(f"{format_range(first, last)} {kernel}" for first, last, kernel in list_measured_steps(row))


def format_ties(row: Row) -> str:
    """Return the token ranges in which no kernel won: '19-24, 30'; with the kernels where there are more than two."""
    several = len(set(row.list_kernels())) > 2
    ties = ((format_range(first, last), tied) for first, last, tied in list_measured_ties(row))
    return ", ".join(f"{tokens} {'='.join(tied)}" if several else tokens for tokens, tied in ties) or "none"


def list_measured_steps(row: Row) -> list[tuple[int, int, KernelName]]:
    """Return [first token count, last one, kernel] of the policy's steps within the swept range."""
    begin, end = row.swept_range
    ends = [*(first - 1 for first, _ in row.policy[1:]), MAX_TOKENS]
    steps = (
        (max(begin, first), min(end, last), kernel) for (first, kernel), last in zip(row.policy, ends, strict=True)
    )
    return [(first, last, kernel) for first, last, kernel in steps if first <= last]


def list_measured_ties(row: Row) -> list[Tie]:
    """Return the ties, as far as they lie within the swept range."""
    begin, end = row.swept_range
    return [
        (max(begin, first), min(end, last), tied) for first, last, tied in row.tie if first <= end and last >= begin
    ]


def _list_limit(row: Row) -> Iterator[str]:
    """Yield the limit of the kernel that is chosen last, where the row goes to that or it lies beyond the row."""
    _, end, kernel = list_measured_steps(row)[-1]
    limit = row.get_limit(kernel)
    if limit < MAX_TOKENS and limit != end:
        yield f"limit {limit}{' not measured' if limit > end else ''}"


def _format_notes(*notes: str) -> str:
    return f" ({', '.join(notes)})" if notes else ""


def format_range(first: int, last: int) -> str:
    """Return '19-24', or '19' for a single token count."""
    return f"{first}" if first == last else f"{first}-{last}"
