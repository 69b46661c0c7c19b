"""What rows say about any shape, asked for exactly or not: exact integer arithmetic, no device, no file.

The header that `moesort-tune export --format cpp` writes computes the same in C++ (export_cpp.py). Records here are
msgspec's: a serving process imports this, and a dataclass takes ten times as long to define.
"""

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from moesort_tune.domain.vocabulary import DEFAULT_TOKENS, KernelName
from moesort_tune.tables.schema import Row

POLICY: Final[dict[KernelName, int]] = {"oneshot": 1, "multiphase": 2}
"""AITER's numbers; 0 leaves the choice to whoever runs the kernels."""

Limit = Callable[[int, int], int]
"""(num_experts, topk) -> largest token count for which oneshot may run; -1 where it may not even run for none."""


class Reason(str, enum.Enum):
    """Why a choice was made. The texts are stable: they are what `counts()` is keyed by and what is logged."""

    EXACT = "exact row"
    NEIGHBOURS = "neighbours"
    DISAGREE = "neighbours disagree"
    NEAREST_EXPERTS = "nearest experts"
    NEAREST_TOPK = "nearest topk"
    BEYOND = "beyond the swept range"
    CLIPPED = "clipped by oneshot's limit"
    RULE = "AITER's rule"
    NO_TOKENS = "no tokens"
    PROVIDER = "left to the kernels' own rule"

    def __str__(self) -> str:
        return self.value


class Segment(msgspec.Struct, frozen=True):
    """From token count `first` on, up to the next segment: the policy and why."""

    first: int
    policy: int
    reason: Reason


class Plan(msgspec.Struct, frozen=True):
    """The choice for one (num_experts, topk) at every token count from 0 on, and the rows that it was made from."""

    segments: tuple[Segment, ...]
    rows: tuple[Row, ...] = ()

    def at(self, tokens: int) -> Segment:
        """The segment that holds `tokens` >= 0."""
        return self.segments[bisect_right(self.segments, tokens, key=_first) - 1]


def _first(segment: Segment) -> int:
    return segment.first


class _Match(msgspec.Struct, frozen=True):
    """Rows that stand for a shape, and the policy that they come to. mixed: two rows that cannot be interpolated."""

    rows: tuple[Row, ...]
    steps: Sequence[tuple[int, KernelName]]
    reason: Reason
    mixed: bool = False

    def reason_at(self, tokens: int) -> Reason:
        """Why the policy chooses what it does for `tokens` >= 1."""
        if self.mixed and len({_step_at(row.policy, tokens) for row in self.rows}) > 1:
            return Reason.DISAGREE
        return self.reason


class Rows:
    """The rows of one entry, made ready to be asked."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._of_topk: dict[int, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row.shape):
            self._of_topk.setdefault(row.topk, []).append(row)
        self._topks = sorted(self._of_topk)
        self._shapes = {row.shape for of_topk in self._of_topk.values() for row in of_topk}

    def __contains__(self, shape: tuple[int, int]) -> bool:
        return shape in self._shapes

    def plan(self, num_experts: int, topk: int, limit: Limit) -> Plan:
        """What these rows say about a shape; oneshot is clipped by `limit` of the shape itself."""
        match = self._match(num_experts, topk)
        longest = limit(num_experts, topk)
        if match.reason is Reason.EXACT:
            longest = min(longest, match.rows[0].oneshot_max_tokens)
        return Plan(_segments(match, longest), match.rows)

    def _match(self, num_experts: int, topk: int) -> _Match:
        used = nearest_by_ratio(self._topks, topk)
        match = _match_experts(self._of_topk[used], num_experts)
        return match if used == topk else msgspec.structs.replace(match, reason=Reason.NEAREST_TOPK)


def nearest_by_ratio(values: Sequence[int], wanted: int) -> int:
    """The one of ascending positive `values` nearest to `wanted` by ratio; on a tie the smaller."""
    above = bisect_left(values, wanted)
    if above == 0:
        return values[0]
    if above == len(values):
        return values[-1]
    low, high = values[above - 1], values[above]
    # wanted / low <= high / wanted, cross-multiplied
    return low if wanted * wanted <= low * high else high


def plan_of_rule(rule_max_tokens: int, longest: int) -> Plan:
    """Oneshot up to `rule_max_tokens` by AITER's rule, clipped at `longest`."""
    steps: tuple[tuple[int, KernelName], ...] = ((1, "oneshot"), (rule_max_tokens + 1, "multiphase"))
    return Plan(_segments(_Match((), steps, Reason.RULE), longest))


def plan_of_provider() -> Plan:
    """Policy 0 for every token count: the kernels' own rule decides."""
    return Plan((Segment(0, 0, Reason.PROVIDER),))


def _match_experts(rows: Sequence[Row], num_experts: int) -> _Match:
    """Of rows of one topk, ascending by experts, those that stand for `num_experts`."""
    above = bisect_left(rows, num_experts, key=lambda row: row.num_experts)
    if above < len(rows) and rows[above].num_experts == num_experts:
        return _Match((rows[above],), rows[above].policy, Reason.EXACT)
    if 0 < above < len(rows):
        return _between(rows[above - 1], rows[above], num_experts)
    nearest = rows[0] if above == 0 else rows[-1]
    return _Match((nearest,), nearest.policy, Reason.NEAREST_EXPERTS)


def _between(low: Row, high: Row, num_experts: int) -> _Match:
    if _switches_alike(low, high):
        steps = (low.policy[0], (_interpolated(low, high, num_experts), low.policy[1][1]))
        return _Match((low, high), steps, Reason.NEIGHBOURS)
    firsts = sorted({first for first, _ in (*low.policy, *high.policy)})
    merged = [(first, _agreed(low, high, first)) for first in firsts]
    return _Match((low, high), merged, Reason.NEIGHBOURS, mixed=True)


def _switches_alike(low: Row, high: Row) -> bool:
    kernels = [kernel for _, kernel in low.policy]
    return len(kernels) == 2 and kernels == [kernel for _, kernel in high.policy]


def _interpolated(low: Row, high: Row, num_experts: int) -> int:
    below, above = num_experts - low.num_experts, high.num_experts - num_experts
    return (low.policy[1][0] * above + high.policy[1][0] * below) // (below + above)


def _agreed(low: Row, high: Row, tokens: int) -> KernelName:
    """What both rows choose; oneshot where they disagree."""
    kernel = _step_at(low.policy, tokens)
    return kernel if kernel == _step_at(high.policy, tokens) else "oneshot"


def _step_at(steps: Sequence[tuple[int, KernelName]], tokens: int) -> KernelName:
    return steps[bisect_right(steps, tokens, key=lambda step: step[0]) - 1][1]


def _segments(match: _Match, longest: int) -> tuple[Segment, ...]:
    """The match over all token counts: cut wherever policy or reason may change, then put together again."""
    swept = _swept(match.rows) if match.rows else None
    cuts = {0, longest + 1, *(first for first, _ in match.steps), *_ends(swept)}
    segments: list[Segment] = []
    for first in sorted(cut for cut in cuts if cut >= 0):
        policy, reason = _decided(match, first, longest, swept)
        if not segments or (segments[-1].policy, segments[-1].reason) != (policy, reason):
            segments.append(Segment(first, policy, reason))
    return tuple(segments)


def _ends(swept: range | None) -> tuple[int, ...]:
    return () if swept is None else (swept.start, swept.stop)


def _decided(match: _Match, tokens: int, longest: int, swept: range | None) -> tuple[int, Reason]:
    kernel = _step_at(match.steps, tokens) if tokens else "oneshot"
    if kernel == "oneshot" and tokens > longest:
        return POLICY["multiphase"], Reason.CLIPPED
    if tokens == 0:
        return POLICY["oneshot"], Reason.NO_TOKENS
    if swept is not None and tokens not in swept:
        return POLICY[kernel], Reason.BEYOND
    return POLICY[kernel], match.reason_at(tokens)


def _swept(rows: Sequence[Row]) -> range:
    """Token counts that every one of these rows was measured on."""
    ranges = [row.evidence.tokens or DEFAULT_TOKENS for row in rows]
    return range(max(first for first, _ in ranges), min(last for _, last in ranges) + 1)
