"""From verdicts to policy and ties."""

from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.domain.candidates import Limits, list_legal_kernels
from moesort_tune.domain.vocabulary import MAX_TOKENS, KernelName
from moesort_tune.measure.verdict import Verdict
from moesort_tune.sweep.switch_points import (
    SwitchPoints,
    compute_loss,
    compute_rule_loss,
    find_switch_points,
    find_witnesses,
)
from moesort_tune.tables.schema import Row
from tests.sweep.kernels import KERNELS, MANY, MULTIPHASE, ONE, ONESHOT, TIE, VERDICTS, make_limits
from tests.sweep.two_candidates import find_two_candidates_switch_points, find_two_candidates_witnesses


def find_choice(found: SwitchPoints, limits: Limits, tokens: int) -> KernelName:
    """Return the choice of a table with this policy and these ties for `tokens`."""
    row = Row(num_experts=8, topk=2, limits=dict(limits), policy=tuple(found.policy), tie=tuple(found.tie))
    return row.choose_kernel(tokens, tuple(limits))


def test_switch_stands_at_the_end_of_its_tie() -> None:
    """The table in the design: a tie of 19 to 24 gives a switch at 25."""
    found = find_switch_points({1: ONE, 18: ONE, 19: TIE, 24: TIE, 25: MANY, 512: MANY}, make_limits(1024))
    assert found == SwitchPoints([(1, ONESHOT), (25, MULTIPHASE)], [(19, 24, KERNELS)])


def test_switch_without_a_tie_stands_at_the_first_win() -> None:
    """Adjacent counts with different winners leave no doubt."""
    found = find_switch_points({1: ONE, 18: ONE, 19: MANY, 512: MANY}, make_limits(1024))
    assert found == SwitchPoints([(1, ONESHOT), (19, MULTIPHASE)], [])


def test_tie_at_the_start_is_oneshot() -> None:
    """Before anything was won the choice is oneshot, as the contract says."""
    found = find_switch_points({1: TIE, 4: TIE, 5: MANY}, make_limits(1024))
    assert found == SwitchPoints([(1, ONESHOT), (5, MULTIPHASE)], [(1, 4, KERNELS)])


def test_tie_between_two_wins_of_one_kernel_switches_nothing() -> None:
    """A tie is listed even where no switch stands at its end."""
    found = find_switch_points({1: MANY, 8: MANY, 9: TIE, 10: TIE, 11: MANY, 20: MANY}, make_limits(1024))
    assert found == SwitchPoints([(1, MULTIPHASE)], [(9, 10, KERNELS)])


def test_choice_may_change_more_than_once() -> None:
    """A policy is a list because kernels have steps."""
    found = find_switch_points({1: ONE, 2: MANY, 7: MANY, 8: ONE, 9: ONE, 10: MANY}, make_limits(1024))
    assert found.policy == [(1, ONESHOT), (2, MULTIPHASE), (8, ONESHOT), (10, MULTIPHASE)]


def test_oneshot_never_goes_past_its_limit() -> None:
    """Where oneshot wins to its last legal count, multiphase follows."""
    found = find_switch_points({1: ONE, 100: ONE, 128: MANY}, make_limits(100))
    assert found == SwitchPoints([(1, ONESHOT), (101, MULTIPHASE)], [])


def test_tie_up_to_the_limit_ends_there() -> None:
    """Past the limit only one kernel is legal, so there is nothing to tie."""
    found = find_switch_points({1: ONE, 50: ONE, 51: TIE, 100: TIE, 128: MANY}, make_limits(100))
    assert found == SwitchPoints([(1, ONESHOT), (101, MULTIPHASE)], [(51, 100, KERNELS)])


def test_shape_without_legal_oneshot_is_multiphase() -> None:
    """Many experts can leave no room for a single token."""
    assert find_switch_points({1: MANY, 8: MANY}, make_limits(0)) == SwitchPoints([(1, MULTIPHASE)], [])


def test_shape_whose_oneshot_takes_one_token_has_a_choice() -> None:
    """The smallest limit is one."""
    assert find_switch_points({1: ONE, 2: MANY}, make_limits(1)) == SwitchPoints([(1, ONESHOT), (2, MULTIPHASE)], [])


def test_gap_that_was_not_searched_is_a_tie() -> None:
    """When time ran out between two winners, the counts between them are not given to either."""
    found = find_switch_points({1: ONE, 16: ONE, 32: MANY, 64: MANY}, make_limits(1024))
    assert found == SwitchPoints([(1, ONESHOT), (32, MULTIPHASE)], [(17, 31, KERNELS)])


def test_range_that_starts_late_reaches_down_to_one() -> None:
    """A policy starts at 1 whatever was swept."""
    assert find_switch_points({16: MANY, 32: MANY}, make_limits(1024)).policy == [(1, MULTIPHASE)]


def test_witnesses_are_the_first_wins_of_each_stretch() -> None:
    """What a policy with switches rests on; ties belong to no stretch."""
    assert find_witnesses({1: TIE, 2: ONE, 3: ONE, 4: TIE, 5: ONE, 6: MANY, 7: TIE, 8: ONE}, make_limits(9)) == [
        2,
        6,
        8,
    ]
    assert find_witnesses({1: TIE, 2: ONE, 3: TIE, 4: ONE}, make_limits(9)) == []
    assert find_witnesses({}, make_limits(9)) == []


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(VERDICTS), min_size=1), st.integers(0, 300))
def test_policy_of_any_verdicts_is_well_formed(verdicts: dict[int, Verdict], limit: int) -> None:
    """Policies start at 1, ascend, alternate, never break the limit, and follow every decided verdict."""
    found = find_switch_points(verdicts, make_limits(limit))
    starts = [first for first, _ in found.policy]
    assert starts[0] == 1
    assert starts == sorted(set(starts))
    assert all(a[1] != b[1] for a, b in zip(found.policy, found.policy[1:], strict=False))
    assert [kernel for first, kernel in found.policy if first <= limit + 1][-1] == MULTIPHASE
    for tokens, verdict in verdicts.items():
        if tokens <= limit and not verdict.is_tie:
            assert find_choice(found, make_limits(limit), tokens) == verdict.winner
    assert all(1 <= first <= last <= limit for first, last, _ in found.tie)


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(VERDICTS), min_size=1), st.integers(1, 300))
def test_choice_inside_a_tie_is_the_one_before_it(verdicts: dict[int, Verdict], limit: int) -> None:
    """Nothing switches inside a tie, so two sweeps that agree on the edges agree on the choice."""
    found = find_switch_points(verdicts, make_limits(limit))
    for first, last, _ in found.tie:
        before = find_choice(found, make_limits(limit), first - 1) if first > min(verdicts) else ONESHOT
        assert all(find_choice(found, make_limits(limit), tokens) == before for tokens in range(first, last + 1))


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(VERDICTS)), st.integers(-1, 300) | st.just(MAX_TOKENS))
def test_two_kernels_give_what_they_always_gave(verdicts: dict[int, Verdict], limit: int) -> None:
    """Any number of candidates is a generalization: tables of two do not change."""
    words = {tokens: verdict.winner or "tie" for tokens, verdict in verdicts.items()}
    found = find_switch_points(verdicts, make_limits(limit))
    policy, ties = find_two_candidates_switch_points(words, limit)
    assert found == SwitchPoints(policy, [(first, last, KERNELS) for first, last in ties])
    legal = {tokens: word for tokens, word in words.items() if tokens <= limit}
    assert find_witnesses(verdicts, make_limits(limit)) == find_two_candidates_witnesses(legal)


THREE: Limits = {"tiny": 32, "middle": 512, "large": MAX_TOKENS}
"""Three invented candidates; the first two have a limit."""


def make_verdict(*names: str) -> Verdict:
    """Return the verdict in which these are best."""
    return Verdict(names)


def test_three_candidates_cross_where_their_times_do() -> None:
    """Each of them wins a range; a switch stands behind its tie, or at the first win."""
    found = find_switch_points(
        {
            1: make_verdict("tiny"),
            8: make_verdict("tiny"),
            9: make_verdict("tiny", "middle"),
            10: make_verdict("middle"),
            100: make_verdict("middle"),
        }
        | {101: make_verdict("large"), 512: make_verdict("large"), 1024: make_verdict("large")},
        THREE,
    )
    assert found == SwitchPoints([(1, "tiny"), (10, "middle"), (101, "large")], [(9, 9, ("tiny", "middle"))])


def test_counts_between_unlike_verdicts_tie_all_that_were_best() -> None:
    """Nobody measured there, so the kernel of neither side is excluded, nor what tied with it."""
    found = find_switch_points(
        {1: make_verdict("tiny"), 8: make_verdict("tiny", "large"), 20: make_verdict("middle")}, THREE
    )
    assert found.tie == [(2, 8, ("tiny", "large")), (9, 19, ("tiny", "middle", "large"))]
    assert found.policy == [(1, "tiny"), (20, "middle"), (513, "large")]


def test_tie_that_excludes_the_choice_before_it_takes_its_first_kernel() -> None:
    """A choice that lost does not stay because two others are equal."""
    found = find_switch_points(
        {1: make_verdict("tiny"), 2: make_verdict("middle", "large"), 3: make_verdict("large")}, THREE
    )
    assert found == SwitchPoints([(1, "tiny"), (2, "middle"), (3, "large")], [(2, 2, ("middle", "large"))])
    assert find_witnesses(
        {1: make_verdict("tiny"), 2: make_verdict("middle", "large"), 4: make_verdict("large")}, THREE
    ) == [1, 2, 4]


def test_choice_ends_at_its_limit_and_the_next_zone_judges_for_itself() -> None:
    """tiny wins to its limit; what was best without it is known only from counts measured past it."""
    found = find_switch_points(
        {1: make_verdict("tiny"), 32: make_verdict("tiny"), 33: make_verdict("large"), 64: make_verdict("middle")},
        THREE,
    )
    assert found.policy == [(1, "tiny"), (33, "large"), (64, "middle"), (513, "large")]
    assert found.tie == [(34, 63, ("middle", "large"))]


def test_zone_without_a_point_takes_the_next_legal_kernel() -> None:
    """Nothing was measured past tiny's limit, so nothing is claimed but what is legal."""
    assert find_switch_points({1: make_verdict("tiny")}, THREE).policy == [(1, "tiny"), (33, "middle"), (513, "large")]
    assert find_switch_points({1: make_verdict("large")}, THREE).policy == [(1, "large")]


def test_tie_across_a_limit_is_one() -> None:
    """A limit of a kernel that lost cuts nothing."""
    tie = make_verdict("middle", "large")
    assert find_switch_points({30: tie, 32: tie, 33: tie, 40: tie}, THREE).tie == [(30, 40, ("middle", "large"))]


def test_tie_never_names_a_kernel_past_its_limit() -> None:
    """A verdict of another limit counts for the kernels that are legal here; one that is left alone won."""
    found = find_switch_points({40: make_verdict("tiny", "middle"), 600: make_verdict("tiny", "large")}, THREE)
    assert found == SwitchPoints([(1, "tiny"), (33, "middle"), (513, "large")], [])


NAMES = tuple(THREE)
SOME = st.sets(st.sampled_from(NAMES), min_size=1).map(lambda names: Verdict(tuple(n for n in NAMES if n in names)))


@given(st.dictionaries(st.integers(1, 700), SOME), st.integers(-1, 300), st.integers(-1, 600))
def test_policy_of_any_three_is_well_formed(verdicts: dict[int, Verdict], tiny: int, middle: int) -> None:
    """Steps ascend and alternate, every choice is legal, and follows every measured count of legal kernels."""
    limits = {"tiny": tiny, "middle": middle, "large": MAX_TOKENS}
    found = find_switch_points(verdicts, limits)
    starts = [first for first, _ in found.policy]
    assert starts[0] == 1
    assert starts == sorted(set(starts))
    assert all(a[1] != b[1] for a, b in zip(found.policy, found.policy[1:], strict=False))
    chosen = {tokens: [kernel for first, kernel in found.policy if first <= tokens][-1] for tokens in range(1, 701)}
    assert all(tokens <= limits[kernel] for tokens, kernel in chosen.items())
    for tokens, verdict in verdicts.items():
        if legal_best := set(verdict.best) & set(list_legal_kernels(tokens, limits)):
            assert chosen[tokens] in legal_best
    for first, last, tied in found.tie:
        assert len(tied) > 1
        assert set(tied) <= set(list_legal_kernels(last, limits))
        assert all(chosen[tokens] in tied for tokens in range(first, last + 1))


def test_loss_of_an_illegal_choice_is_that_of_the_kernel_that_runs_instead() -> None:
    """Choices are clipped to what is legal, so an illegal one costs nothing extra."""
    assert compute_loss({MULTIPHASE: 5.0}, ONESHOT) == 1.0
    assert compute_loss({MULTIPHASE: 4.0, ONESHOT: 5.0}, ONESHOT) == 1.25


def test_rule_loss_is_the_worst_over_the_measured_points() -> None:
    """The evidence names what AITER's rule would cost at its worst measured point."""

    def rule(tokens: int) -> KernelName:
        return ONESHOT if tokens <= 56 else MULTIPHASE

    times: dict[int, dict[KernelName, float]] = {
        16: {ONESHOT: 4.0, MULTIPHASE: 5.0},
        56: {ONESHOT: 9.0, MULTIPHASE: 6.0},
        57: {ONESHOT: 9.0, MULTIPHASE: 6.0},
        9999: {MULTIPHASE: 20.0},
    }
    assert compute_rule_loss(times, rule) == 1.5
    assert compute_rule_loss({}, rule) == 1.0
