"""What choices cost."""

from dataclasses import replace

import pytest

from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import MULTIPHASE as MULTIPHASE_CANDIDATE
from moesort_tune.domain.vocabulary import ONESHOT as ONESHOT_CANDIDATE
from moesort_tune.domain.vocabulary import Condition, KernelName
from moesort_tune.measure.verdict import Verdict
from moesort_tune.providers.facts import registry
from moesort_tune.verify.policies import (
    Case,
    Constant,
    Policy,
    always,
    best_constant,
    by_constant,
    by_first_encounter,
    by_oracle,
    by_table,
    list_rules,
)
from moesort_tune.verify.regret import (
    compare_policies,
    compute_group_regrets,
    compute_regret,
    find_best_mean_constant,
    is_constant_as_good,
    list_settled_losses,
)

ONESHOT, MULTIPHASE = ONESHOT_CANDIDATE.name, MULTIPHASE_CANDIDATE.name
BUILTIN = registry.get_facts("builtin")
DEVICE = DeviceLimits("sm_90", 132, 32, 232448)


def make_point(experts: int, tokens: int, oneshot_us: float, multiphase_us: float = 6.0) -> Case:
    """Return a measured point; the first encounter saw multiphase at half of its time."""
    times: dict[KernelName, float] = {ONESHOT: oneshot_us, MULTIPHASE: multiphase_us}
    first: dict[KernelName, float] = {ONESHOT: oneshot_us, MULTIPHASE: multiphase_us / 2}
    ratio = oneshot_us / multiphase_us
    verdict = Verdict((ONESHOT, MULTIPHASE) if 0.98 < ratio < 1.02 else (ONESHOT,) if ratio < 1 else (MULTIPHASE,))
    return Case(Shape(experts, 2), tokens, times, first, verdict)


def make_constant(value: int) -> Policy:
    """Return the policy of one constant."""
    return by_constant(Constant(value), f"tokens * experts > {value}")


BY_EXPERTS = Policy("own", lambda case: MULTIPHASE if case.shape.num_experts == 128 else ONESHOT)

POINTS = [
    make_point(128, 8, 3.0),
    make_point(128, 16, 5.0),
    make_point(128, 32, 9.0),
    make_point(8, 64, 5.0),
    make_point(8, 512, 12.0),
]


def test_regret_of_the_better_kernel_is_none() -> None:
    """The oracle loses nothing."""
    oracle = compute_regret(POINTS, by_oracle())
    assert (oracle.mean, oracle.worst, oracle.worst_settled) == (1.0, 1.0, 1.0)


def test_regret_names_its_worst_point() -> None:
    """Where a choice is worst is as useful as by how much."""
    regret = compute_regret(POINTS, Policy("always", lambda _: ONESHOT))
    assert regret.worst == 2.0
    assert str(regret.worst_at) == "8/2 at 512 tokens"
    assert regret.mean == pytest.approx((1 + 1 + 1.5 + 1 + 2) / 5)


def test_ties_do_not_count_as_settled_losses() -> None:
    """A check for CI does not fail on what was noise."""
    points = [make_point(128, 8, 6.1), make_point(128, 64, 9.0)]
    regret = compute_regret(points, Policy("own", lambda p: ONESHOT if p.tokens == 8 else MULTIPHASE))
    assert regret.worst == pytest.approx(6.1 / 6.0)
    assert regret.worst_settled == 1.0


def test_best_constant_is_the_best_there_is() -> None:
    """The honest competitor of any table is a single constant at its best."""
    best = find_best_mean_constant(POINTS).work
    means = [compute_regret(POINTS, make_constant(c)).mean for c in range(0, 5000, 8)]
    assert compute_regret(POINTS, make_constant(best)).mean == min(means)
    assert best == 16 * 128
    assert find_best_mean_constant([make_point(1, 1, 9.0)]).work == 0  # no work at all is oneshot's


def test_best_constant_counts_how_often_a_point_occurs() -> None:
    """Protects `ab`: a step that comes a hundred times outweighs one whose kernels differ more."""
    often, seldom = replace(make_point(8, 8, 5.0), weight=100), make_point(8, 4, 9.0)
    assert best_constant([often, seldom], lambda case, choice: case.times_us[choice]).work == 64
    assert best_constant([make_point(8, 8, 5.0), seldom], lambda case, choice: case.times_us[choice]).work == 0


def test_constant_that_does_as_well_is_admitted() -> None:
    """If nobody needs a table, it says so; where the constant errs, it does not."""
    assert is_constant_as_good(POINTS, make_constant(2048))
    two_sides = [make_point(128, 8, 12.0), make_point(8, 128, 3.0)]

    assert not is_constant_as_good(two_sides, BY_EXPERTS)


def test_constant_may_take_any_kernel_below_itself() -> None:
    """Protects the admission that always oneshot does as well, where a third kernel is legal and slower."""
    times = {"wave": 9.0, ONESHOT: 2.0, MULTIPHASE: 3.0}
    slow_wave = [Case(Shape(8, 2), tokens, times, times, Verdict((ONESHOT,))) for tokens in (4, 9)]
    best = find_best_mean_constant(slow_wave)
    assert (best.below, str(best)) == (ONESHOT, f"{9 * 8}, else {ONESHOT}")
    assert compute_regret(slow_wave, by_constant(best, "constant")).worst == 1.0


def test_constant_within_a_fifth_of_a_percent_does_as_well() -> None:
    """The margin decides whether a table is worth having: a mean regret 0.15 % above the table's is none, 0.3 % is."""
    # one amount of work and two winners: a constant that takes oneshot for both loses a share at 128 experts
    for share, as_well in ((0.003, True), (0.006, False)):
        points = [make_point(128, 8, 6.0 * (1 + share)), make_point(8, 128, 3.0)]
        assert is_constant_as_good(points, BY_EXPERTS) is as_well


def test_policies_that_contend_choose_each_their_own_way() -> None:
    """Protects verify and ab, which compare the table with the very same policies."""
    policies = [make_constant(2048), *list_rules(BUILTIN, DEVICE), by_first_encounter(), *always(BUILTIN)]
    regrets = compare_policies(POINTS, policies)
    assert list(regrets) == [
        "tokens * experts > 2048",
        "the builtin rule",
        "AITER's rule",
        "first encounter",
        "always wave",
        "always oneshot",
        "always multiphase",
    ]
    assert regrets["tokens * experts > 2048"].worst == 1.0
    # with 8 experts the rule takes oneshot up to 904 tokens: 12 us at 512, where multiphase takes 6
    assert regrets["AITER's rule"].worst == 2.0
    assert regrets["first encounter"].worst == 6.0 / 5.0
    assert regrets["always multiphase"].worst == 2.0


def test_table_chooses_by_policy_number() -> None:
    """Protects the meaning of the dispatcher's numbers, which are the provider's."""
    table = by_table(lambda tokens, *_, **__: 1 if tokens < 32 else 2, BUILTIN, DEVICE)
    assert [table.choose(case) for case in POINTS] == [ONESHOT, ONESHOT, MULTIPHASE, MULTIPHASE, MULTIPHASE]


def test_table_is_asked_for_the_condition_of_the_point() -> None:
    """Protects conditions as keys: a table that knows better without moe_buf is asked for that."""

    def decide(tokens: int, num_experts: int, topk: int, *, moe_buf: bool, masked: bool) -> int:
        del tokens, num_experts, topk
        return 1 if moe_buf and not masked else 2

    table = by_table(decide, BUILTIN, DEVICE)
    conditions = [Condition(), Condition(moe_buf=False), Condition(masked=True)]
    choices = [table.choose(replace(POINTS[0], condition=condition)) for condition in conditions]
    assert choices == [ONESHOT, MULTIPHASE, MULTIPHASE]


def test_choice_that_is_left_to_the_kernels_is_their_rules() -> None:
    """Protects AITER without a table: policy 0 runs what AITER's own rule takes, oneshot up to 904 tokens of 8."""
    table = by_table(lambda *_, **__: 0, registry.get_facts("aiter"), DEVICE, "no table")
    assert [table.choose(replace(POINTS[-1], tokens=tokens)) for tokens in (904, 905)] == [ONESHOT, MULTIPHASE]


def test_aiters_rule_competes_where_it_is_another_one() -> None:
    """Protects the comparison with AITER, which is its own rule for its own kernels and none for another operation."""
    names = {name: [rule.name for rule in list_rules(registry.get_facts(name), DEVICE)] for name in registry.BUNDLED}
    assert names == {
        "builtin": ["the builtin rule", "AITER's rule"],
        "aiter": ["AITER's rule"],
        "align": ["the align rule"],
    }


def test_p90_is_exceeded_by_a_tenth_of_the_points_at_most() -> None:
    """Protects the reports: of ten points one may be worse, of nine none."""
    points = [make_point(128, 8, 6.0 + number, multiphase_us=6.0) for number in range(10)]
    always_oneshot = Policy("always", lambda _: ONESHOT)
    assert compute_regret(points, always_oneshot).p90 == pytest.approx(14 / 6)
    assert compute_regret(points[:9], always_oneshot).p90 == pytest.approx(14 / 6)


def test_settled_losses_leave_ties_out() -> None:
    """Protects the count of points above the margin from noise."""
    points = [make_point(128, 8, 6.1), make_point(128, 64, 9.0), make_point(128, 16, 3.0)]
    assert list_settled_losses(points, Policy("always", lambda _: ONESHOT)) == [(1.5, points[1])]


def test_groups_have_their_own_regret() -> None:
    """Protects reports by expert count: the regret of few experts does not hide that of many."""
    groups = compute_group_regrets(POINTS, Policy("always", lambda _: ONESHOT), lambda case: str(case.shape))
    assert {name: (points, regret.worst) for name, (points, regret) in groups.items()} == {
        "128/2": (3, 1.5),
        "8/2": (2, 2.0),
    }


def test_choice_that_is_not_legal_runs_the_last_candidate() -> None:
    """Protects the regret of a rule that asks for oneshot past its limit: multiphase runs, and its time counts."""
    alone = Case(Shape(8, 2), 99_999, {MULTIPHASE: 6.0}, {MULTIPHASE: 6.0}, Verdict((MULTIPHASE,)))
    assert (alone.run(ONESHOT), alone.loss(ONESHOT)) == (MULTIPHASE, 1.0)


def test_choice_that_is_not_legal_runs_the_next_in_order() -> None:
    """Protects "always wave", which the runtime would let go on with oneshot past wave's limit."""
    times = {ONESHOT: 2.0, MULTIPHASE: 6.0}
    case = Case(Shape(8, 2), 999, times, times, Verdict((ONESHOT,)), candidates=("wave", ONESHOT, MULTIPHASE))
    assert (case.run("wave"), case.loss("wave")) == (ONESHOT, 1.0)
    assert case.run(MULTIPHASE) == MULTIPHASE
