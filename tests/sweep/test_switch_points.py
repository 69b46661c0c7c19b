"""From verdicts to policy and ties."""

from hypothesis import given
from hypothesis import strategies as st

from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.sweep.switch_points import SwitchPoints, find_switch_points, loss, rule_loss, witnesses
from moesort_tune.tables.schema import Row

ONE, MANY, TIE = Verdict.ONESHOT, Verdict.MULTIPHASE, Verdict.TIE


def choice_at(found: SwitchPoints, limit: int, tokens: int) -> KernelName:
    """What a table with this policy and these ties chooses for `tokens`."""
    row = Row(num_experts=8, topk=2, oneshot_max_tokens=limit, policy=tuple(found.policy), tie=tuple(found.tie))
    return row.kernel_at(tokens)


def test_switch_stands_at_the_end_of_its_tie() -> None:
    """The table in the design: a tie of 19 to 24 gives a switch at 25."""
    found = find_switch_points({1: ONE, 18: ONE, 19: TIE, 24: TIE, 25: MANY, 512: MANY}, 1024)
    assert found == SwitchPoints([(1, ONESHOT), (25, MULTIPHASE)], [(19, 24)])


def test_switch_without_a_tie_stands_at_the_first_win() -> None:
    """Adjacent counts with different winners leave no doubt."""
    found = find_switch_points({1: ONE, 18: ONE, 19: MANY, 512: MANY}, 1024)
    assert found == SwitchPoints([(1, ONESHOT), (19, MULTIPHASE)], [])


def test_tie_at_the_start_is_oneshot() -> None:
    """Before anything was won the choice is oneshot, as the contract says."""
    found = find_switch_points({1: TIE, 4: TIE, 5: MANY}, 1024)
    assert found == SwitchPoints([(1, ONESHOT), (5, MULTIPHASE)], [(1, 4)])


def test_tie_between_two_wins_of_one_kernel_switches_nothing() -> None:
    """A tie is listed even where no switch stands at its end."""
    found = find_switch_points({1: MANY, 8: MANY, 9: TIE, 10: TIE, 11: MANY, 20: MANY}, 1024)
    assert found == SwitchPoints([(1, MULTIPHASE)], [(9, 10)])


def test_choice_may_change_more_than_once() -> None:
    """A policy is a list because kernels have steps."""
    found = find_switch_points({1: ONE, 2: MANY, 7: MANY, 8: ONE, 9: ONE, 10: MANY}, 1024)
    assert found.policy == [(1, ONESHOT), (2, MULTIPHASE), (8, ONESHOT), (10, MULTIPHASE)]


def test_oneshot_never_goes_past_its_limit() -> None:
    """Where oneshot wins to its last legal count, multiphase follows."""
    found = find_switch_points({1: ONE, 100: ONE, 128: MANY}, 100)
    assert found == SwitchPoints([(1, ONESHOT), (101, MULTIPHASE)], [])


def test_tie_up_to_the_limit_ends_there() -> None:
    """Past the limit only one kernel is legal, so there is nothing to tie."""
    found = find_switch_points({1: ONE, 50: ONE, 51: TIE, 100: TIE, 128: MANY}, 100)
    assert found == SwitchPoints([(1, ONESHOT), (101, MULTIPHASE)], [(51, 100)])


def test_shape_without_legal_oneshot_is_multiphase() -> None:
    """Many experts can leave no room for a single token."""
    assert find_switch_points({1: MANY, 8: MANY}, 0) == SwitchPoints([(1, MULTIPHASE)], [])


def test_shape_whose_oneshot_takes_one_token_has_a_choice() -> None:
    """The smallest limit is one."""
    assert find_switch_points({1: ONE, 2: MANY}, 1) == SwitchPoints([(1, ONESHOT), (2, MULTIPHASE)], [])


def test_gap_that_was_not_searched_is_a_tie() -> None:
    """When time ran out between two winners, the counts between them are not given to either."""
    found = find_switch_points({1: ONE, 16: ONE, 32: MANY, 64: MANY}, 1024)
    assert found == SwitchPoints([(1, ONESHOT), (32, MULTIPHASE)], [(17, 31)])


def test_range_that_starts_late_reaches_down_to_one() -> None:
    """A policy starts at 1 whatever was swept."""
    assert find_switch_points({16: MANY, 32: MANY}, 1024).policy == [(1, MULTIPHASE)]


def test_witnesses_are_the_first_wins_of_each_stretch() -> None:
    """What a policy with switches rests on; ties belong to no stretch."""
    assert witnesses({1: TIE, 2: ONE, 3: ONE, 4: TIE, 5: ONE, 6: MANY, 7: TIE, 8: ONE}) == [2, 6, 8]
    assert witnesses({1: TIE, 2: ONE, 3: TIE, 4: ONE}) == []
    assert witnesses({}) == []


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(Verdict), min_size=1), st.integers(0, 300))
def test_policy_of_any_verdicts_is_well_formed(verdicts: dict[int, Verdict], limit: int) -> None:
    """Policies start at 1, ascend, alternate, never break the limit, and follow every decided verdict."""
    found = find_switch_points(verdicts, limit)
    starts = [first for first, _ in found.policy]
    assert starts[0] == 1
    assert starts == sorted(set(starts))
    assert all(a[1] != b[1] for a, b in zip(found.policy, found.policy[1:], strict=False))
    assert [kernel for first, kernel in found.policy if first <= limit + 1][-1] == MULTIPHASE
    for tokens, verdict in verdicts.items():
        if tokens <= limit and verdict is not TIE:
            assert choice_at(found, limit, tokens) == verdict.value
    assert all(1 <= first <= last <= limit for first, last in found.tie)


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(Verdict), min_size=1), st.integers(1, 300))
def test_choice_inside_a_tie_is_the_one_before_it(verdicts: dict[int, Verdict], limit: int) -> None:
    """Nothing switches inside a tie, so two sweeps that agree on the edges agree on the choice."""
    found = find_switch_points(verdicts, limit)
    for first, last in found.tie:
        before = choice_at(found, limit, first - 1) if first > min(verdicts) else ONESHOT
        assert all(choice_at(found, limit, tokens) == before for tokens in range(first, last + 1))


def test_loss_of_an_illegal_choice_is_that_of_the_kernel_that_runs_instead() -> None:
    """Choices are clipped to what is legal, so an illegal one costs nothing extra."""
    assert loss({MULTIPHASE: 5.0}, ONESHOT) == 1.0
    assert loss({MULTIPHASE: 4.0, ONESHOT: 5.0}, ONESHOT) == 1.25


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
    assert rule_loss(times, rule) == 1.5
    assert rule_loss({}, rule) == 1.0
