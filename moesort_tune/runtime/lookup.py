"""Decide by the rows of a table for any shape, with or without a row: exact integer arithmetic, no device, no file.

The header that `moesort-tune export --format cpp` writes computes the same in C++ (tables/export/cpp.py). Records here
are msgspec's: a serving process imports this, and a dataclass takes ten times as long to define.
"""

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from moesort_tune.domain.candidates import Limits, Steps, choose_by_steps, choose_for_no_tokens, choose_legal
from moesort_tune.domain.vocabulary import ONESHOT, KernelName
from moesort_tune.providers.facts.aiter_rule import AITER_RULE
from moesort_tune.tables.schema import Row


class Reason(str, enum.Enum):
    """Why a choice was made. The texts are stable: `counts()` is keyed by them, and they are logged."""

    EXACT = "exact row"
    NEIGHBOURS = "neighbours"
    DISAGREE = "neighbours disagree"
    NEAREST_EXPERTS = "nearest experts"
    NEAREST_TOPK = "nearest topk"
    BEYOND = "beyond the swept range"
    CLIPPED = "clipped by oneshot's limit"
    CLIPPED_OTHER = "clipped by a kernel's limit"
    RULE = AITER_RULE
    OWN_RULE = "the provider's rule"
    NO_TOKENS = "no tokens"
    PROVIDER = "left to the kernels' own rule"

    def __str__(self) -> str:
        return self.value


class Segment(msgspec.Struct, frozen=True):
    """The kernel from token count `first` to the next segment, and why. kernel: None leaves it to their own rule."""

    first: int
    kernel: KernelName | None
    reason: Reason


class Plan(msgspec.Struct, frozen=True):
    """The choice for one (num_experts, topk) at every token count from 0 on, and the rows that it was made from."""

    segments: tuple[Segment, ...]
    rows: tuple[Row, ...] = ()

    def at(self, tokens: int) -> Segment:
        """Return the segment that holds `tokens` >= 0."""
        return self.segments[bisect_right(self.segments, tokens, key=_first) - 1]


def _first(segment: Segment) -> int:
    return segment.first


class _Match(msgspec.Struct, frozen=True):
    """Rows that stand for a shape. steps: the policies to go by, two where the rows cannot be interpolated."""

    rows: tuple[Row, ...]
    steps: tuple[Steps, ...]
    reason: Reason

    def choices(self, tokens: int) -> set[KernelName]:
        """Return what the policies choose for `tokens` >= 1: one kernel where they agree."""
        return {choose_by_steps(steps, tokens) for steps in self.steps}


class Beyond(msgspec.Struct, frozen=True):
    """Decide where nothing was measured: by the provider's rule, but for kernels that lost at the end of what was.

    swept: the token counts that were measured. lost_above: kernels that a later one in the candidates' order beat at
    the end of that range; lost_below: kernels that an earlier one beat at its beginning.
    """

    rule: Steps
    swept: range
    lost_above: frozenset[KernelName]
    lost_below: frozenset[KernelName]

    def choose(self, tokens: int, limits: Limits) -> KernelName:
        """Return the kernel for `tokens` outside of the range: the rule's, else the nearest that did not lose."""
        above = tokens >= self.swept.stop
        names = list(limits)
        lost = self.lost_above if above else self.lost_below
        start = names.index(choose_by_steps(self.rule, tokens))
        ordered = names[start:] + names[:start][::-1] if above else names[: start + 1][::-1] + names[start + 1 :]
        legal = [name for name in ordered if tokens <= limits[name]]
        return next((name for name in legal if name not in lost), next(iter(legal), names[-1]))


class Rows:
    """The rows of one entry, indexed by topk and experts."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._of_topk: dict[int, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row.shape):
            self._of_topk.setdefault(row.topk, []).append(row)
        self._topks = sorted(self._of_topk)
        self._shapes = {row.shape for of_topk in self._of_topk.values() for row in of_topk}

    def __contains__(self, shape: tuple[int, int]) -> bool:
        return shape in self._shapes

    def find_exact(self, num_experts: int, topk: int, *, masked: bool) -> tuple[int, int] | None:
        """Return the shape of the row that stands for a shape exactly, None without one.

        A mask may have one entry more than the model has experts: a sentinel that is always off.
        """
        experts = (num_experts, num_experts - 1) if masked else (num_experts,)
        return next(((count, topk) for count in experts if (count, topk) in self._shapes), None)

    def plan(self, num_experts: int, topk: int, limits: Limits, rule: Steps, *, masked: bool = False) -> Plan:
        """Return what these rows say about a shape, no kernel chosen past `limits`, which are those of the shape.

        rule: the provider's own, for the token counts that no row was measured on.
        """
        exact = self.find_exact(num_experts, topk, masked=masked)
        match = self._match(*(exact or (num_experts, topk)))
        if match.reason is Reason.EXACT:
            row = match.rows[0]
            limits = {name: min(limit, row.get_limit(name)) for name, limit in limits.items()}
        return Plan(_segments(match, limits, _find_beyond(match.rows, tuple(limits), rule)), match.rows)

    def _match(self, num_experts: int, topk: int) -> _Match:
        used = nearest_by_ratio(self._topks, topk)
        match = _match_experts(self._of_topk[used], num_experts)
        return match if used == topk else msgspec.structs.replace(match, reason=Reason.NEAREST_TOPK)


def nearest_by_ratio(values: Sequence[int], wanted: int) -> int:
    """Return the one of ascending positive `values` that is nearest to `wanted` by ratio; on a tie the smaller."""
    above = bisect_left(values, wanted)
    if above == 0:
        return values[0]
    if above == len(values):
        return values[-1]
    low, high = values[above - 1], values[above]
    # wanted / low <= high / wanted, cross-multiplied
    return low if wanted * wanted <= low * high else high


def plan_of_rule(steps: Steps, rule_name: str, limits: Limits) -> Plan:
    """Return the plan of a provider's rule of that name, no kernel chosen past `limits`."""
    reason = Reason.RULE if rule_name == AITER_RULE else Reason.OWN_RULE
    return Plan(_segments(_Match((), (steps,), reason), limits))


def plan_of_provider() -> Plan:
    """Return the plan that leaves every choice to the kernels' own rule."""
    return Plan((Segment(0, None, Reason.PROVIDER),))


def _match_experts(rows: Sequence[Row], num_experts: int) -> _Match:
    """Return those of `rows`, all of one topk and ascending by experts, that stand for `num_experts`."""
    above = bisect_left(rows, num_experts, key=lambda row: row.num_experts)
    if above < len(rows) and rows[above].num_experts == num_experts:
        return _Match((rows[above],), (rows[above].policy,), Reason.EXACT)
    if 0 < above < len(rows):
        return _between(rows[above - 1], rows[above], num_experts)
    nearest = rows[0] if above == 0 else rows[-1]
    return _Match((nearest,), (nearest.policy,), Reason.NEAREST_EXPERTS)


def _between(low: Row, high: Row, num_experts: int) -> _Match:
    """Interpolate every switch of two rows that take the same kernels one after another; else keep both policies."""
    rows, policies = (low, high), (low.swept_policy, high.swept_policy)
    if [kernel for _, kernel in policies[0]] != [kernel for _, kernel in policies[1]]:
        return _Match(rows, policies, Reason.NEIGHBOURS)
    below, above = num_experts - low.num_experts, high.num_experts - num_experts
    steps = [
        ((first * above + other * below) // (below + above), kernel)
        for (first, kernel), (other, _) in zip(*policies, strict=True)
    ]
    return _Match(rows, (steps,), Reason.NEIGHBOURS)


def _find_beyond(rows: Sequence[Row], names: Sequence[KernelName], rule: Steps) -> Beyond:
    """Return what decides outside of the range that all of `rows` were measured on."""
    lost_above, lost_below = set[KernelName](), set[KernelName]()
    for row in rows:
        first, last = row.swept_range
        lost_above |= row.list_beaten(last, names, by_later=True)
        lost_below |= row.list_beaten(first, names, by_later=False)
    return Beyond(rule, _find_swept_range(rows), frozenset(lost_above), frozenset(lost_below))


def _segments(match: _Match, limits: Limits, beyond: Beyond | None = None) -> tuple[Segment, ...]:
    """Cut the token counts wherever choice or reason may change, decide for each part, and join what is alike."""
    cuts = {0, *(limit + 1 for limit in limits.values()), *(first for steps in match.steps for first, _ in steps)}
    if beyond is not None:
        cuts |= {beyond.swept.start, beyond.swept.stop, *(first for first, _ in beyond.rule)}
    segments: list[Segment] = []
    for first in sorted(cut for cut in cuts if cut >= 0):
        if beyond is not None and first and first not in beyond.swept:
            kernel, reason = beyond.choose(first, limits), Reason.BEYOND
        else:
            kernel, reason = _decide(match, first, limits, beyond.rule if beyond else match.steps[0])
        if not segments or (segments[-1].kernel, segments[-1].reason) != (kernel, reason):
            segments.append(Segment(first, kernel, reason))
    return tuple(segments)


def _decide(match: _Match, tokens: int, limits: Limits, rule: Steps) -> tuple[KernelName, Reason]:
    """Return the kernel for `tokens`, and why. Between two choices the rule decides, else the candidates' order."""
    choices = match.choices(tokens) if tokens else {choose_for_no_tokens(limits)}
    named = [name for name in limits if name in choices]
    if len(named) > 1 and (preferred := choose_by_steps(rule, tokens)) in named and tokens <= limits[preferred]:
        return preferred, Reason.DISAGREE
    kernel = next((name for name in named if tokens <= limits[name]), choose_legal(named[0], tokens, limits))
    if kernel != named[0]:
        return kernel, Reason.CLIPPED if named[0] == ONESHOT.name else Reason.CLIPPED_OTHER
    if tokens == 0:
        return kernel, Reason.NO_TOKENS
    return kernel, Reason.DISAGREE if len(named) > 1 else match.reason


def _find_swept_range(rows: Sequence[Row]) -> range:
    """Return the token counts that every one of these rows was measured on."""
    ranges = [row.swept_range for row in rows]
    return range(max(first for first, _ in ranges), min(last for _, last in ranges) + 1)
