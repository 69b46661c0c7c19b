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
    """Return choices and ties in a line of their own: 'oneshot, from 25 tokens multiphase up to 64 (tie 19-24)'."""
    steps = list_measured_steps(row)
    texts = [kernel if first == 1 else f"from {first} tokens {kernel}" for first, _, kernel in steps]
    ties = [f"tie {format_ties(row)}"] if list_measured_ties(row) else []
    return f"{', '.join(texts)} up to {steps[-1][1]}{_format_notes(*_list_limit(row), *ties)}"


def format_choice(row: Row) -> str:
    """Return the policy by token ranges: 'oneshot to 24, multiphase up to 64'."""
    *steps, (_, end, last) = list_measured_steps(row)
    first = row.swept_range[0]
    texts = [*(f"{kernel} to {until}" for _, until, kernel in steps), f"{last} up to {end}"]
    return f"{'' if first == 1 else f'from {first}: '}{', '.join(texts)}{_format_notes(*_list_limit(row))}"


def format_ties(row: Row) -> str:
    """Return the token ranges in which no kernel won: '19-24, 30'; with the kernels where there are more than two."""
    several = len(set(row.list_kernels())) > 2
    ties = ((_format_range(first, last), tied) for first, last, tied in list_measured_ties(row))
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


def _format_range(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"
