"""What rows say about shapes: the contract's arithmetic, written a second time token by token, and its reasons."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.runtime.lookup import Plan, Reason, Rows, nearest_by_ratio, plan_of_provider, plan_of_rule
from moesort_tune.tables.schema import Evidence, Row
from tests.tables.examples import row


def limit(num_experts: int, topk: int) -> int:
    """A made-up limit of oneshot that depends on both numbers."""
    return max(0, 4000 // num_experts - topk)


def reference_policy(rows: Sequence[Row], tokens: int, num_experts: int, topk: int) -> int:
    """The contract as a person would follow it for one question."""
    if tokens == 0:
        return 1
    topks = {row.topk for row in rows}
    used = min(topks, key=lambda k: (max(k, topk) / min(k, topk), k))
    same = {row.num_experts: row for row in rows if row.topk == used}
    low = max((e for e in same if e <= num_experts), default=min(same))
    high = min((e for e in same if e >= num_experts), default=max(same))
    kernel = reference_kernel(same[low], same[high], tokens, num_experts)
    longest = limit(num_experts, topk)
    if used == topk and num_experts in same:
        longest = min(longest, same[num_experts].oneshot_max_tokens)
    return 1 if kernel == "oneshot" and tokens <= longest else 2


def reference_kernel(low: Row, high: Row, tokens: int, num_experts: int) -> KernelName:
    """What two rows, or the same row twice, choose before any limit."""
    choices = [next(k for first, k in reversed(r.policy) if first <= tokens) for r in (low, high)]
    if choices[0] == choices[1]:
        return choices[0]
    if len(low.policy) == len(high.policy) == 2 and low.policy[0][1] == high.policy[0][1]:
        lo, hi = low.num_experts, high.num_experts
        switch = (low.policy[1][0] * (hi - num_experts) + high.policy[1][0] * (num_experts - lo)) // (hi - lo)
        return low.policy[0][1] if tokens < switch else low.policy[1][1]
    return "oneshot"


@st.composite
def policies(draw: st.DrawFn) -> tuple[tuple[int, KernelName], ...]:
    """One to four steps that take turns."""
    firsts = [1, *sorted(draw(st.sets(st.integers(2, 300), max_size=3)))]
    orders: list[tuple[KernelName, KernelName]] = [("oneshot", "multiphase"), ("multiphase", "oneshot")]
    kernels = draw(st.sampled_from(orders))
    return tuple((first, kernels[index % 2]) for index, first in enumerate(firsts))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows of a few experts and topk, each shape once."""
    shapes = draw(st.sets(st.tuples(st.integers(4, 64), st.integers(1, 4)), min_size=1, max_size=8))
    return [
        row(experts, topk, policy=draw(policies()), oneshot_max_tokens=draw(st.integers(300, 500)))
        for experts, topk in shapes
    ]


@settings(deadline=None, max_examples=60)
@given(rows=tables(), num_experts=st.integers(1, 80), topk=st.integers(1, 9))
def test_plan_agrees_with_the_contract_at_every_token_count(rows: list[Row], num_experts: int, topk: int) -> None:
    """Whatever the table and the shape, in it, between its rows or outside."""
    plan = Rows(rows).plan(num_experts, topk, limit)
    planned = [plan.at(tokens).policy for tokens in range(520)]
    assert planned == [reference_policy(rows, tokens, num_experts, topk) for tokens in range(520)]


@settings(deadline=None)
@given(rows=tables(), num_experts=st.integers(1, 80), topk=st.integers(1, 9), tokens=st.integers(0, 1 << 24))
def test_plan_never_chooses_oneshot_past_its_limit(rows: list[Row], num_experts: int, topk: int, tokens: int) -> None:
    """The one rule that no table can break."""
    segment = Rows(rows).plan(num_experts, topk, limit).at(tokens)
    assert segment.policy == 2 or tokens <= limit(num_experts, topk)


def reasons(plan: Plan) -> list[tuple[int, int, str]]:
    """The segments of a plan as plain data."""
    return [(segment.first, segment.policy, str(segment.reason)) for segment in plan.segments]


def unlimited(_num_experts: int, _topk: int) -> int:
    """Oneshot may always run."""
    return 1 << 24


ROWS = Rows([row(64, 6, 41), row(64, 4, 40), row(128, 4, 20), row(256, 4, 12)])


def test_exact_row_is_taken_as_it_is() -> None:
    """Up to the end of what was measured; past it the last step goes on, and the reason says so."""
    assert reasons(ROWS.plan(128, 4, unlimited)) == [
        (0, 1, "no tokens"),
        (1, 1, "exact row"),
        (20, 2, "exact row"),
        (16385, 2, "beyond the swept range"),
    ]


def test_rows_know_which_shapes_they_hold() -> None:
    """A miss is a shape that has no row of its own, whatever its neighbours say."""
    assert (128, 4) in ROWS
    assert (128, 6) not in ROWS


def test_limit_of_no_tokens_leaves_oneshot_none() -> None:
    """The limit counts tokens: 0 forbids oneshot for one token, not for none."""
    assert reasons(ROWS.plan(1024, 4, lambda _num_experts, _topk: 0))[:2] == [
        (0, 1, "no tokens"),
        (1, 2, "clipped by oneshot's limit"),
    ]


def test_limit_itself_is_legal() -> None:
    """A row that chooses oneshot for its last legal count is followed."""
    last = Rows([row(64, 4, policy=((1, "multiphase"), (500, "oneshot")), oneshot_max_tokens=500)])
    assert reasons(last.plan(64, 4, unlimited))[2:] == [
        (500, 1, "exact row"),
        (501, 2, "clipped by oneshot's limit"),
    ]


def test_switch_between_two_rows_is_interpolated_and_rounded_down() -> None:
    """A quarter of the way from 64 to 128 experts: 40 - 5; at 65 experts 39.6875 becomes 39."""
    assert reasons(ROWS.plan(80, 4, unlimited))[1:3] == [(1, 1, "neighbours"), (35, 2, "neighbours")]
    assert reasons(ROWS.plan(65, 4, unlimited))[2] == (39, 2, "neighbours")


def test_rows_that_cannot_be_interpolated_decide_where_they_agree() -> None:
    """One row switches back: where the two disagree oneshot is taken, and the reason says that they do."""
    back = row(64, 4, policy=((1, "oneshot"), (40, "multiphase"), (90, "oneshot"), (200, "multiphase")))
    assert reasons(Rows([back, row(128, 4, 20)]).plan(96, 4, unlimited)) == [
        (0, 1, "no tokens"),
        (1, 1, "neighbours"),
        (20, 1, "neighbours disagree"),
        (40, 2, "neighbours"),
        (90, 1, "neighbours disagree"),
        (200, 2, "neighbours"),
        (16385, 2, "beyond the swept range"),
    ]


def test_rows_that_switch_in_opposite_ways_are_not_interpolated() -> None:
    """One switch each, but from and to different kernels: there is no switch between them."""
    opposite = row(64, 4, policy=((1, "multiphase"), (30, "oneshot")))
    plan = Rows([opposite, row(128, 4, 20)]).plan(96, 4, unlimited)
    assert [plan.at(tokens).policy for tokens in (1, 19, 20, 29, 30)] == [1, 1, 2, 2, 1]


@pytest.mark.parametrize(("num_experts", "nearest"), [(8, 64), (63, 64), (257, 256), (1024, 256)])
def test_experts_outside_the_rows_get_the_nearest_row(num_experts: int, nearest: int) -> None:
    """No extrapolation."""
    plan = ROWS.plan(num_experts, 4, unlimited)
    assert plan.rows[0].num_experts == nearest
    assert plan.at(5).reason is Reason.NEAREST_EXPERTS


def test_topk_that_has_no_row_takes_the_nearest_by_ratio() -> None:
    """5 is nearer to 6 than to 4 by ratio (5 / 4 > 6 / 5), so that the rows of topk 6 are the ones to look in."""
    plan = ROWS.plan(64, 5, unlimited)
    assert (plan.rows[0].shape, plan.at(5).reason) == ((64, 6), Reason.NEAREST_TOPK)
    assert ROWS.plan(256, 7, unlimited).rows[0].shape == (64, 6)


def test_limit_of_the_shape_itself_clips_the_choice() -> None:
    """A row of 64 experts stands in for 60, whose own limit counts; past the swept range the reason stays the limit."""
    rows = Rows([row(64, 4, None, oneshot_max_tokens=900)])
    assert reasons(rows.plan(60, 4, lambda _num_experts, _topk: 500)) == [
        (0, 1, "no tokens"),
        (1, 1, "nearest experts"),
        (501, 2, "clipped by oneshot's limit"),
    ]


def test_swept_range_of_the_row_is_what_the_reason_goes_by() -> None:
    """A row says what was measured; between two rows only what both were measured on counts."""
    first, second = (
        row(64, 4, 40, evidence=Evidence(tokens=(1, 100))),
        row(128, 4, 40, evidence=Evidence(tokens=(8, 200))),
    )
    assert [r for _, _, r in reasons(Rows([first, second]).plan(96, 4, unlimited))] == [
        "no tokens",
        "beyond the swept range",
        "neighbours",
        "neighbours",
        "beyond the swept range",
    ]


def test_oneshot_that_may_never_run_is_not_chosen_even_for_no_tokens() -> None:
    """AITER's oneshot never ends from 819 experts on; its limit is -1 there."""
    assert reasons(ROWS.plan(1024, 4, lambda _num_experts, _topk: -1))[0] == (0, 2, "clipped by oneshot's limit")


def test_rule_without_a_table_is_clipped_too() -> None:
    """AITER's rule knows nothing of our kernels' limit."""
    assert reasons(plan_of_rule(904, 100)) == [
        (0, 1, "no tokens"),
        (1, 1, "AITER's rule"),
        (101, 2, "clipped by oneshot's limit"),
        (905, 2, "AITER's rule"),
    ]
    assert reasons(plan_of_rule(0, 100)) == [(0, 1, "no tokens"), (1, 2, "AITER's rule")]
    assert reasons(plan_of_provider()) == [(0, 0, "left to the kernels' own rule")]


@pytest.mark.parametrize(
    ("values", "wanted", "nearest"),
    [
        ([80, 304], 80, 80),
        ([80, 304], 1, 80),
        ([80, 304], 1000, 304),
        ([80, 304], 155, 80),  # 155² = 24025 <= 80 * 304 = 24320
        ([80, 304], 156, 304),  # 24336 > 24320
        ([4, 16], 8, 4),  # a tie goes to the smaller
        ([7], 3, 7),
    ],
)
def test_nearest_is_by_ratio_and_a_tie_goes_to_the_smaller(values: list[int], wanted: int, nearest: int) -> None:
    """Exact integers: floating point would decide ties by chance."""
    assert nearest_by_ratio(values, wanted) == nearest
