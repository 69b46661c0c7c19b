"""Which of a provider's candidates may run. Standard library only: a serving process imports this."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from moesort_tune.domain.vocabulary import ONESHOT, KernelName

Limits = Mapping[KernelName, int]
"""Largest token count of each candidate for one shape on one device, in the candidates' order.

MAX_TOKENS where nothing limits it, 0 where it never sorts a token, -1 where it may not even run for none. The last
candidate is what remains where no other may run, so nothing may limit it.
"""


Steps = Sequence[tuple[int, KernelName]]
"""[first token count, kernel that is chosen from there on], ascending."""


def build_steps(lasts: Limits) -> Steps:
    """Return the steps that take each candidate in turn up to its last token count; the last one has no end.

    A candidate that would end where the one before it ends or earlier, or before the first token, is left out.
    """
    steps, first = list[tuple[int, KernelName]](), 1
    for name, last in lasts.items():
        if last >= first:
            steps.append((first, name))
            first = last + 1
    return steps


def choose_for_no_tokens(names: Iterable[KernelName]) -> KernelName:
    """Return the one of these candidates that is called for no tokens: oneshot, dispatch_policy 1, else the first."""
    ordered = tuple(names)
    return ONESHOT.name if ONESHOT.name in ordered else ordered[0]


def choose_by_steps(steps: Steps, tokens: int) -> KernelName:
    """Return the kernel that ascending steps choose for `tokens`, which must not lie before the first of them."""
    return steps[bisect_right(steps, tokens, key=lambda step: step[0]) - 1][1]


def list_legal_kernels(tokens: int, limits: Limits) -> tuple[KernelName, ...]:
    """Return the candidates that may sort `tokens` >= 0 tokens, in their order."""
    return tuple(name for name, limit in limits.items() if tokens <= limit)


def find_last_contested(limits: Limits) -> int:
    """Return the largest token count at which at least two candidates are legal; 0 for a single candidate."""
    return max(0, sorted(limits.values())[-2]) if len(limits) > 1 else 0


def choose_legal(kernel: KernelName, tokens: int, limits: Limits) -> KernelName:
    """Return `kernel` if it may sort `tokens` tokens, else the next candidate in order that may, else an earlier one.

    Where none may, return the last candidate. Raise ValueError for a kernel that is none of the candidates.
    """
    names = list(limits)
    if kernel not in limits:
        raise ValueError(f"expected {' or '.join(names)}, got {kernel!r}")
    start = names.index(kernel)
    ordered = (*names[start:], *names[:start])
    return next((name for name in ordered if tokens <= limits[name]), names[-1])
