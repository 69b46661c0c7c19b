"""Decisions by rows: the contract's arithmetic, written a second time token by token, and the reasons."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moesort_tune.domain.candidates import Limits, build_steps
from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.providers.facts.aiter_rule import AITER_RULE
from moesort_tune.runtime.lookup import Plan, Reason, Rows, nearest_by_ratio, plan_of_provider, plan_of_rule
from moesort_tune.tables.schema import Evidence, Row
from tests.tables.examples import BOTH, row

ORDER = ("wave", "oneshot", "multiphase")
"""The builtin kernels' candidates. Many rows and limits below know the last two of them alone, as AITER does."""

FOR_NO_TOKENS = "oneshot"
"""What is called where there is nothing to sort, wherever it stands in the order."""

POLICY = {"oneshot": 1, "multiphase": 2, None: 0}


RULE = ((1, "wave"), (40, "oneshot"), (350, "multiphase"))
"""The provider's rule where nothing was measured."""

TWO_KERNELS = ((1, "oneshot"), (1000, "multiphase"))
"""A rule of the last two candidates."""


def make_limits(oneshot: int, **others: int) -> Limits:
    """Limits of oneshot and of nothing else but `others`, in the candidates' order."""
    known = {"oneshot": oneshot, "multiphase": MAX_TOKENS, **others}
    return {name: known[name] for name in ORDER if name in known}


def invent_limits(num_experts: int, topk: int) -> Limits:
    """Return made-up limits of three candidates that depend on both numbers."""
    return make_limits(max(0, 4000 // num_experts - topk), wave=max(-1, 64 - num_experts))


def decide_by_contract(rows: Sequence[Row], tokens: int, num_experts: int, topk: int) -> KernelName:
    """Decide one question as the contract says, step by step."""
    limits = dict(invent_limits(num_experts, topk))
    topks = {row.topk for row in rows}
    used = min(topks, key=lambda k: (max(k, topk) / min(k, topk), k))
    same = {row.num_experts: row for row in rows if row.topk == used}
    low = max((e for e in same if e <= num_experts), default=min(same))
    high = min((e for e in same if e >= num_experts), default=max(same))
    rows_used = (same[low], same[high])
    choices = list_choices_by_contract(same[low], same[high], tokens, num_experts) if tokens else {FOR_NO_TOKENS}
    if used == topk and num_experts in same:
        limits = {name: min(limit, same[num_experts].get_limit(name)) for name, limit in limits.items()}
    if tokens and not all(is_measured(row, tokens) for row in rows_used):
        return decide_beyond(rows_used, tokens, limits)
    preferred = next(kernel for first, kernel in reversed(RULE) if first <= max(1, tokens))
    if len(choices) > 1 and preferred in choices and tokens <= limits[preferred]:
        return preferred
    first = next(name for name in ORDER if name in choices)
    after = [*ORDER[ORDER.index(first) :], *ORDER]
    return next(name for name in [*(n for n in ORDER if n in choices), *after] if tokens <= limits[name])


def is_measured(row: Row, tokens: int) -> bool:
    """Return whether a row was measured on a token count."""
    first, last = row.evidence.tokens or (1, 16384)
    return first <= tokens <= last


def decide_beyond(rows: Sequence[Row], tokens: int, limits: Limits) -> KernelName:
    """Decide outside of what all rows were measured on: by the rule, but for kernels that lost at the end there."""
    ranges = [row.evidence.tokens or (1, 16384) for row in rows]
    above = tokens > min(last for _, last in ranges)
    lost = set()
    for used, (first, last) in zip(rows, ranges, strict=True):
        end = last if above else first
        best = used.list_tied(end) or (used.choose_kernel(end, ORDER),)
        for name in ORDER:
            others = [ORDER.index(other) for other in best]
            place = ORDER.index(name)
            if name not in best and (place < max(others) if above else place > min(others)):
                lost.add(name)
    wanted = ORDER.index(next(kernel for first, kernel in reversed(RULE) if first <= tokens))
    step = 1 if above else -1
    ordered = sorted(range(3), key=lambda place: ((place - wanted) * step < 0, abs(place - wanted)))
    legal = [ORDER[place] for place in ordered if tokens <= limits[ORDER[place]]]
    return next((name for name in legal if name not in lost), (legal or ["multiphase"])[0])


def list_choices_by_contract(low: Row, high: Row, tokens: int, num_experts: int) -> set[KernelName]:
    """Return the choices of two rows, or of the same row twice, before any limit."""
    ends = {id(r): (r.evidence.tokens or (1, 16384))[1] for r in (low, high)}
    policies = [[step for step in r.policy if step[0] <= ends[id(r)]] for r in (low, high)]
    kernels = [kernel for _, kernel in policies[0]]
    if low is high or kernels != [kernel for _, kernel in policies[1]]:
        return {next(k for first, k in reversed(policy) if first <= tokens) for policy in policies}
    lo, hi = low.num_experts, high.num_experts
    switches = [
        (a * (hi - num_experts) + b * (num_experts - lo)) // (hi - lo) for (a, _), (b, _) in zip(*policies, strict=True)
    ]
    return {kernels[max(index for index, switch in enumerate(switches) if switch <= tokens)]}


@st.composite
def draw_policy(draw: st.DrawFn) -> tuple[tuple[int, KernelName], ...]:
    """Return one to four steps, each of another kernel than the one before."""
    firsts = [1, *sorted(draw(st.sets(st.integers(2, 300), max_size=3)))]
    kernels = [draw(st.sampled_from(ORDER))]
    for _ in firsts[1:]:
        kernels.append(draw(st.sampled_from([name for name in ORDER if name != kernels[-1]])))
    return tuple(zip(firsts, kernels, strict=True))


@st.composite
def draw_rows(draw: st.DrawFn) -> list[Row]:
    """Return rows of a few experts and topk, each shape once, many of them of one sequence of kernels."""
    shapes = draw(st.sets(st.tuples(st.integers(4, 64), st.integers(1, 4)), min_size=1, max_size=8))
    known = st.integers(300, 500)
    return [
        row(
            experts,
            topk,
            policy=draw(draw_policy()),
            limits={"wave": draw(known), "oneshot": draw(known)},
            evidence=Evidence(tokens=draw(st.none() | draw_range())),
            tie=draw(st.just(()) | st.builds(lambda end: ((end, 400, BOTH),), st.integers(2, 400))),
        )
        for experts, topk in sorted(shapes)
    ]


@st.composite
def draw_range(draw: st.DrawFn) -> tuple[int, int]:
    """A range that was swept."""
    first = draw(st.integers(1, 400))
    return first, draw(st.integers(first, 520))


@settings(deadline=None, max_examples=100)
@given(rows=draw_rows(), num_experts=st.integers(1, 80), topk=st.integers(1, 9))
def test_plan_agrees_with_the_contract_at_every_token_count(rows: list[Row], num_experts: int, topk: int) -> None:
    """Protects any table of three kernels and any shape, in it, between its rows or outside."""
    plan = Rows(rows).plan(num_experts, topk, invent_limits(num_experts, topk), RULE)
    planned = [plan.at(tokens).kernel for tokens in range(520)]
    assert planned == [decide_by_contract(rows, tokens, num_experts, topk) for tokens in range(520)]


@settings(deadline=None)
@given(rows=draw_rows(), num_experts=st.integers(1, 80), topk=st.integers(1, 9), tokens=st.integers(0, MAX_TOKENS))
def test_plan_never_chooses_a_kernel_past_its_limit(rows: list[Row], num_experts: int, topk: int, tokens: int) -> None:
    """Protects the one rule that no table can break."""
    limits = invent_limits(num_experts, topk)
    kernel = Rows(rows).plan(num_experts, topk, limits, RULE).at(tokens).kernel
    assert kernel is not None
    assert tokens <= limits[kernel]


def list_segments(plan: Plan) -> list[tuple[int, int, str]]:
    """Return the segments of a plan as plain data."""
    return [(segment.first, POLICY[segment.kernel], str(segment.reason)) for segment in plan.segments]


UNLIMITED = make_limits(MAX_TOKENS)
"""Oneshot may always run."""


ROWS = Rows([row(64, 6, 41), row(64, 4, 40), row(128, 4, 20), row(256, 4, 12)])


def test_exact_row_is_taken_as_it_is() -> None:
    """Up to the end of what was measured; past it the last step goes on, and the reason says so."""
    assert list_segments(ROWS.plan(128, 4, UNLIMITED, RULE)) == [
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
    assert list_segments(ROWS.plan(1024, 4, make_limits(0), RULE))[:2] == [
        (0, 1, "no tokens"),
        (1, 2, "clipped by oneshot's limit"),
    ]


def test_limit_itself_is_legal() -> None:
    """A row that chooses oneshot for its last legal count is followed."""
    last = Rows([row(64, 4, policy=((1, "multiphase"), (500, "oneshot")), limits={"oneshot": 500})])
    assert list_segments(last.plan(64, 4, UNLIMITED, RULE))[2:] == [
        (500, 1, "exact row"),
        (501, 2, "clipped by oneshot's limit"),
        (16385, 2, "beyond the swept range"),
    ]


def test_switch_between_two_rows_is_interpolated_and_rounded_down() -> None:
    """A quarter of the way from 64 to 128 experts: 40 - 5; at 65 experts 39.6875 becomes 39."""
    assert list_segments(ROWS.plan(80, 4, UNLIMITED, RULE))[1:3] == [(1, 1, "neighbours"), (35, 2, "neighbours")]
    assert list_segments(ROWS.plan(65, 4, UNLIMITED, RULE))[2] == (39, 2, "neighbours")


def test_rows_that_cannot_be_interpolated_decide_where_they_agree() -> None:
    """One row switches back: where the two disagree oneshot is taken, and the reason says that they do."""
    back = row(64, 4, policy=((1, "oneshot"), (40, "multiphase"), (90, "oneshot"), (200, "multiphase")))
    assert list_segments(Rows([back, row(128, 4, 20)]).plan(96, 4, UNLIMITED, RULE)) == [
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
    plan = Rows([opposite, row(128, 4, 20)]).plan(96, 4, UNLIMITED, RULE)
    assert [POLICY[plan.at(tokens).kernel] for tokens in (1, 19, 20, 29, 30)] == [1, 1, 2, 2, 1]


@pytest.mark.parametrize(("num_experts", "nearest"), [(8, 64), (63, 64), (257, 256), (1024, 256)])
def test_experts_outside_the_rows_get_the_nearest_row(num_experts: int, nearest: int) -> None:
    """No extrapolation."""
    plan = ROWS.plan(num_experts, 4, UNLIMITED, RULE)
    assert plan.rows[0].num_experts == nearest
    assert plan.at(5).reason is Reason.NEAREST_EXPERTS


def test_topk_that_has_no_row_takes_the_nearest_by_ratio() -> None:
    """5 is nearer to 6 than to 4 by ratio (5 / 4 > 6 / 5), so that the rows of topk 6 are the ones to look in."""
    plan = ROWS.plan(64, 5, UNLIMITED, RULE)
    assert (plan.rows[0].shape, plan.at(5).reason) == ((64, 6), Reason.NEAREST_TOPK)
    assert ROWS.plan(256, 7, UNLIMITED, RULE).rows[0].shape == (64, 6)


def test_limit_of_the_shape_itself_clips_the_choice() -> None:
    """A row of 64 experts stands in for 60, whose own limit counts; past the swept range the rule decides."""
    rows = Rows([row(64, 4, None, limits={"oneshot": 900})])
    assert list_segments(rows.plan(60, 4, make_limits(500), RULE)) == [
        (0, 1, "no tokens"),
        (1, 1, "nearest experts"),
        (501, 2, "clipped by oneshot's limit"),
        (16385, 2, "beyond the swept range"),
    ]


def test_swept_range_of_the_row_is_what_the_reason_goes_by() -> None:
    """A row says what was measured; between two rows only what both were measured on counts."""
    first, second = (
        row(64, 4, 40, evidence=Evidence(tokens=(1, 100))),
        row(128, 4, 40, evidence=Evidence(tokens=(8, 200))),
    )
    assert [r for _, _, r in list_segments(Rows([first, second]).plan(96, 4, UNLIMITED, TWO_KERNELS))] == [
        "no tokens",
        "beyond the swept range",
        "neighbours",
        "neighbours",
        "beyond the swept range",
    ]


@pytest.mark.parametrize("wave", [-1, 0, 32])
def test_no_tokens_are_oneshots_whatever_else_may_run(wave: int) -> None:
    """Protects callers that know two policies: no other candidate and no row changes what is called for nothing."""
    rows = Rows([row(64, 4, policy=((1, "wave"), (8, "multiphase")), limits={"wave": 32})])
    segment = rows.plan(64, 4, make_limits(500, wave=wave), RULE).at(0)
    assert (segment.kernel, segment.reason) == ("oneshot", Reason.NO_TOKENS)


def test_oneshot_that_may_never_run_is_not_chosen_even_for_no_tokens() -> None:
    """AITER's oneshot never ends from 819 experts on; its limit is -1 there."""
    assert list_segments(ROWS.plan(1024, 4, make_limits(-1), RULE))[0] == (0, 2, "clipped by oneshot's limit")
    assert ROWS.plan(1024, 4, make_limits(-1, wave=32), RULE).at(0).kernel == "multiphase"


def test_rule_decides_beyond_what_was_measured_unless_its_kernel_lost_there() -> None:
    """Protects from claims: a row of 1 to 16 tokens says nothing of 2000, where the rule asks for multiphase."""
    rule = ((1, "oneshot"), (1000, "multiphase"))
    swept = Rows([row(64, 4, None, limits={}, evidence=Evidence(tokens=(1, 16)))])
    assert list_segments(swept.plan(64, 4, UNLIMITED, rule)) == [
        (0, 1, "no tokens"),
        (1, 1, "exact row"),
        (17, 1, "beyond the swept range"),
        (1000, 2, "beyond the swept range"),
    ]
    lost = Rows([row(64, 4, 10, evidence=Evidence(tokens=(8, 16)))])
    assert list_segments(lost.plan(64, 4, UNLIMITED, rule))[1:] == [
        (1, 1, "beyond the swept range"),
        (8, 1, "exact row"),
        (10, 2, "exact row"),
        (17, 2, "beyond the swept range"),
    ]
    late = Rows([row(64, 4, 10, evidence=Evidence(tokens=(8, 16)))])
    assert list_segments(late.plan(64, 4, UNLIMITED, ((1, "multiphase"),)))[1] == (1, 1, "beyond the swept range")


def test_tie_to_the_end_of_the_range_leaves_the_rest_to_the_rule() -> None:
    """Protects thousands of unmeasured counts from what the last measured ones left open."""
    open_end = row(64, 4, 10, tie=((12, 16, BOTH),), evidence=Evidence(tokens=(1, 16)))
    plan = Rows([open_end]).plan(64, 4, UNLIMITED, ((1, "oneshot"), (1000, "multiphase")))
    assert [(s.first, s.kernel) for s in plan.segments][2:] == [
        (10, "multiphase"),
        (17, "oneshot"),
        (1000, "multiphase"),
    ]


@pytest.mark.parametrize(("num_experts", "row_of"), [(129, 128), (128, 128), (65, 64)])
def test_mask_with_a_sentinel_finds_the_row_of_the_model(num_experts: int, row_of: int) -> None:
    """Protects vLLM's masks, which have one entry more than there are experts."""
    plan = ROWS.plan(num_experts, 4, UNLIMITED, RULE, masked=True)
    assert plan.rows[0].shape == (row_of, 4)
    assert plan.at(5).reason is Reason.EXACT
    assert ROWS.plan(129, 4, UNLIMITED, RULE).at(5).reason is Reason.NEIGHBOURS


def test_every_switch_between_rows_of_one_sequence_is_interpolated() -> None:
    """Protects rows of three kernels: halfway between two of them every switch lies halfway."""
    low = row(64, 4, policy=((1, "wave"), (10, "oneshot"), (100, "multiphase")))
    high = row(128, 4, policy=((1, "wave"), (20, "oneshot"), (201, "multiphase")))
    plan = Rows([low, high]).plan(96, 4, make_limits(MAX_TOKENS, wave=MAX_TOKENS), RULE)
    assert [(s.first, s.kernel, s.reason) for s in plan.segments[1:-1]] == [
        (1, "wave", Reason.NEIGHBOURS),
        (15, "oneshot", Reason.NEIGHBOURS),
        (150, "multiphase", Reason.NEIGHBOURS),
    ]


def test_switch_that_follows_from_a_limit_beyond_the_range_is_not_interpolated() -> None:
    """Protects 124 experts between a row without a switch in its range and one that switches at 5 tokens."""
    swept = Evidence(tokens=(1, 64))
    low = row(60, 4, 5697, limits={"oneshot": 5696}, evidence=swept)
    high = row(128, 4, 5, limits={"oneshot": 2624}, evidence=swept)
    plan = Rows([low, high]).plan(124, 4, UNLIMITED, ((1, "oneshot"), (40, "multiphase")))
    assert [(s.first, s.kernel, s.reason) for s in plan.segments[1:-1]] == [
        (1, "oneshot", Reason.NEIGHBOURS),
        (5, "oneshot", Reason.DISAGREE),
        (40, "multiphase", Reason.DISAGREE),
    ]


def test_rows_that_disagree_take_the_first_legal_kernel_that_they_name() -> None:
    """Protects from a kernel that neither row asks for, and from one that may not run."""
    rows = Rows([row(64, 4, policy=((1, "wave"),)), row(128, 4, policy=((1, "multiphase"),))])
    plan = rows.plan(96, 4, make_limits(1000, wave=32), RULE)
    assert [(s.first, s.kernel, str(s.reason)) for s in plan.segments[1:3]] == [
        (1, "wave", "neighbours disagree"),
        (33, "multiphase", "clipped by a kernel's limit"),
    ]


def test_rule_decides_between_the_kernels_of_rows_that_disagree() -> None:
    """Protects 45 experts between a row that switches once at 2595 tokens and one that switches back at 4705."""
    low = row(32, 4, 2595, limits={})
    high = row(128, 4, policy=((1, "oneshot"), (2273, "multiphase"), (4705, "oneshot")), limits={})
    plan = Rows([low, high]).plan(45, 4, UNLIMITED, ((1, "oneshot"), (1950, "multiphase")))
    assert [(s.first, s.kernel, s.reason) for s in plan.segments[1:-1]] == [
        (1, "oneshot", Reason.NEIGHBOURS),
        (2273, "multiphase", Reason.DISAGREE),
        (2595, "multiphase", Reason.NEIGHBOURS),
        (4705, "multiphase", Reason.DISAGREE),
    ]


def test_clipped_kernel_gives_way_to_the_next_legal_one() -> None:
    """Protects a row that ends with a limited kernel: the next in order runs, and past its limit the one after it."""
    plan = Rows([row(64, 4, policy=((1, "wave"),), limits={"wave": 32})]).plan(64, 4, make_limits(500, wave=40), RULE)
    assert [(s.first, s.kernel, str(s.reason)) for s in plan.segments] == [
        (0, "oneshot", "no tokens"),
        (1, "wave", "exact row"),
        (33, "oneshot", "clipped by a kernel's limit"),
        (501, "multiphase", "clipped by a kernel's limit"),
        (16385, "multiphase", "beyond the swept range"),
    ]


def test_rule_without_a_table_is_clipped_too() -> None:
    """AITER's rule knows nothing of our kernels' limit."""
    assert list_segments(
        plan_of_rule(build_steps({"oneshot": 904, "multiphase": MAX_TOKENS}), AITER_RULE, make_limits(100))
    ) == [
        (0, 1, "no tokens"),
        (1, 1, "AITER's rule"),
        (101, 2, "clipped by oneshot's limit"),
        (905, 2, "AITER's rule"),
    ]
    assert list_segments(
        plan_of_rule(build_steps({"oneshot": 0, "multiphase": MAX_TOKENS}), AITER_RULE, make_limits(100))
    ) == [
        (0, 1, "no tokens"),
        (1, 2, "AITER's rule"),
    ]
    assert list_segments(plan_of_provider()) == [(0, 0, "left to the kernels' own rule")]


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
