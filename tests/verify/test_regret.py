"""What choices cost."""

import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.measure.verdict import MULTIPHASE, ONESHOT, Verdict
from moesort_tune.verify.regret import (
    MeasuredChoice,
    best_constant,
    by_constant,
    constant_does_as_well,
    contenders,
    regret_of,
)


def point(experts: int, tokens: int, oneshot_us: float, multiphase_us: float = 6.0) -> MeasuredChoice:
    """A measured point; the first encounter saw multiphase at half of its time."""
    times: dict[KernelName, float] = {ONESHOT: oneshot_us, MULTIPHASE: multiphase_us}
    first: dict[KernelName, float] = {ONESHOT: oneshot_us, MULTIPHASE: multiphase_us / 2}
    ratio = oneshot_us / multiphase_us
    verdict = Verdict.TIE if 0.98 < ratio < 1.02 else Verdict.ONESHOT if ratio < 1 else Verdict.MULTIPHASE
    return MeasuredChoice(Shape(experts, 2), tokens, times, first, verdict)


POINTS = [point(128, 8, 3.0), point(128, 16, 5.0), point(128, 32, 9.0), point(8, 64, 5.0), point(8, 512, 12.0)]


def test_regret_of_the_better_kernel_is_none() -> None:
    """The oracle loses nothing."""
    oracle = regret_of(POINTS, lambda p: min(p.times_us, key=lambda kernel: p.times_us[kernel]))
    assert (oracle.mean, oracle.worst, oracle.worst_settled) == (1.0, 1.0, 1.0)


def test_regret_names_its_worst_point() -> None:
    """Where a choice is worst is as useful as by how much."""
    regret = regret_of(POINTS, lambda _: ONESHOT)
    assert regret.worst == 2.0
    assert str(regret.worst_at) == "8/2 at 512 tokens"
    assert regret.mean == pytest.approx((1 + 1 + 1.5 + 1 + 2) / 5)


def test_ties_do_not_count_as_settled_losses() -> None:
    """A check for CI does not fail on what was noise."""
    points = [point(128, 8, 6.1), point(128, 64, 9.0)]
    regret = regret_of(points, lambda p: ONESHOT if p.tokens == 8 else MULTIPHASE)
    assert regret.worst == pytest.approx(6.1 / 6.0)
    assert regret.worst_settled == 1.0


def test_best_constant_is_the_best_there_is() -> None:
    """The honest competitor of any table is a single constant at its best."""
    constant = best_constant(POINTS)
    means = [regret_of(POINTS, by_constant(c)).mean for c in range(0, 5000, 8)]
    assert regret_of(POINTS, by_constant(constant)).mean == min(means)
    assert constant == 16 * 128
    assert best_constant([point(1, 1, 9.0)]) == 0  # no work at all is oneshot's


def test_constant_that_does_as_well_is_admitted() -> None:
    """If nobody needs a table, it says so; where the constant errs, it does not."""
    assert constant_does_as_well(POINTS, by_constant(2048))
    two_sides = [point(128, 8, 12.0), point(8, 128, 3.0)]

    def table(p: MeasuredChoice) -> KernelName:
        return MULTIPHASE if p.shape.num_experts == 128 else ONESHOT

    assert not constant_does_as_well(two_sides, table)


def test_constant_within_a_fifth_of_a_percent_does_as_well() -> None:
    """The margin decides whether a table is worth having: a mean regret 0.15 % above the table's is none, 0.3 % is."""
    # one amount of work and two winners: a constant that takes oneshot for both loses a share at 128 experts
    for share, as_well in ((0.003, True), (0.006, False)):
        points = [point(128, 8, 6.0 * (1 + share)), point(8, 128, 3.0)]
        assert constant_does_as_well(points, lambda p: MULTIPHASE if p.shape.num_experts == 128 else ONESHOT) is as_well


def test_contenders_are_those_that_the_contract_names() -> None:
    """The table comes first, and every competitor chooses its own way."""
    regrets = contenders(POINTS, by_constant(2048), 2048)
    assert list(regrets) == [
        "table",
        "AITER's rule",
        "tokens * experts > 2048",
        "first encounter",
        "always oneshot",
        "always multiphase",
    ]
    assert regrets["table"].worst == 1.0
    # with 8 experts the rule takes oneshot up to 904 tokens: 12 us at 512, where 6 us could be had
    assert regrets["AITER's rule"].worst == 2.0
    assert regrets["first encounter"].worst == 6.0 / 5.0
    assert regrets["always multiphase"].worst == 2.0
