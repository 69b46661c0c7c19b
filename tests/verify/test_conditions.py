"""Names of conditions, and the limits that a regret must not exceed under them."""

import pytest

from moesort_tune.domain.shape import Shape
from moesort_tune.measure.verdict import Verdict
from moesort_tune.verify.conditions import (
    AS_SWEPT,
    NO_TABLE,
    OTHER_SETTINGS,
    OTHER_SHAPES,
    RegretLimit,
    find_name,
    hyphenate,
    name_expert_group,
    parse_limit,
)
from moesort_tune.verify.policies import Case, Constant
from moesort_tune.verify.regret import Regret
from moesort_tune.verify.results import VerifyResult
from moesort_tune.verify.verification import SettingReport
from tests.sweep.fakes import FACTS


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("without moe_buf", "without moe_buf"),
        ("without-moe-buf", "without moe_buf"),
        (" Without_moe_buf ", "without moe_buf"),
        ("unit_size=16", "unit_size=16"),
        ("unit-size=16", "unit_size=16"),
        ("ep=4", "masked"),
        ("zipf:1.2", "zipf:1.2"),
    ],
)
def test_names_are_found_however_a_shell_likes_them(text: str, name: str) -> None:
    """Protects scripts: names without blanks mean the same, and so do the names of earlier releases."""
    assert find_name(text, OTHER_SETTINGS) == name


def test_every_name_can_be_written_without_quotes() -> None:
    """Protects the help, which lists them so."""
    for name in OTHER_SETTINGS:
        assert " " not in hyphenate(name)
        assert find_name(hyphenate(name), OTHER_SETTINGS) == name


def test_unknown_name_is_refused_with_those_that_there_are() -> None:
    """A person sees what can be asked for."""
    with pytest.raises(ValueError, match="'ep=8' is none of without-moe_buf, masked, eager"):
        find_name("ep=8", OTHER_SETTINGS)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1.05", (None, "worst", 1.05)),
        ("masked=1.05", ("masked", "worst", 1.05)),
        ("no table=1.15", ("no table", "worst", 1.15)),
        ("no-table:mean=1.02", ("no-table", "mean", 1.02)),
        ("unit_size=16=1.1", ("unit_size=16", "worst", 1.1)),
        ("zipf:1.2=1.1", ("zipf:1.2", "worst", 1.1)),
        ("zipf:1.2:p90=1.1", ("zipf:1.2", "p90", 1.1)),
    ],
)
def test_limit_may_name_condition_and_statistic(text: str, limit: tuple[str | None, str, float]) -> None:
    """Protects checks in CI: each condition has a limit of its own, and a setting's '=' is no limit's."""
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "x", "masked=", "masked=0.9", "0.5", "nan", "=1e999"])
def test_limit_that_is_none_is_refused(text: str) -> None:
    """Protects a check from never failing."""
    with pytest.raises(ValueError, match=r"number"):
        parse_limit(text)


def test_expert_groups_have_bounds_in_their_names() -> None:
    """Protects the groups at their edges."""
    groups = [name_expert_group(Shape(experts, 1)) for experts in (64, 65, 256, 257)]
    assert groups == ["up to 64 experts", "65 to 256 experts", "65 to 256 experts", "more than 256 experts"]


CASE = Case(Shape(8, 2), 9, {"oneshot": 1.0}, {"oneshot": 1.0}, Verdict(("oneshot",)))


def make_report(
    setting: str, mean: float, worst: float, *, swept: bool = False, decider: str = "table"
) -> SettingReport:
    """Return a report with these regrets, nine tenths of the points at 1.5."""
    regrets = {decider: Regret(mean, 1.5, 9.0, CASE, worst)}
    return SettingReport(setting, [CASE], regrets, constant=Constant(0), as_good=False, swept=swept)


RESULT = VerifyResult(
    FACTS,
    (),
    [
        make_report(AS_SWEPT, 1.0, 1.01, swept=True),
        make_report("masked", 1.02, 1.04, swept=True),
        make_report(OTHER_SHAPES, 1.03, 1.4),
        make_report(NO_TABLE, 1.05, 1.2, decider="no table"),
        make_report("cold", 1.06, 1.3),
    ],
    {},
    margin=0.02,
)


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        (RegretLimit(1.05), None),
        (RegretLimit(1.035), "the table's regret reaches 1.040 (masked) (worst at 8/2 at 9 tokens)"),
        (RegretLimit(1.005), "the table's regret reaches 1.010 (worst at 8/2 at 9 tokens)"),
        (RegretLimit(1.2, "cold"), "the table's regret reaches 1.300 (cold)"),
        (RegretLimit(1.3, "cold"), None),
        (RegretLimit(1.05, "cold", "mean"), "the table's mean regret (cold) is 1.060, above the limit of 1.05"),
        (RegretLimit(1.4, "cold", "p90"), "the table's p90 regret (cold) is 1.500"),
        (RegretLimit(1.15, NO_TABLE), "the rule's regret reaches 1.200 (no table)"),
        (RegretLimit(1.2, OTHER_SHAPES), "the table's regret reaches 1.400 (shapes without a row)"),
        (RegretLimit(9.0, "eager"), "nothing was measured for eager"),
    ],
)
def test_limit_is_held_against_its_condition(limit: RegretLimit, fault: str | None) -> None:
    """Protects checks in CI: settled losses count as the worst, and a condition without a point does not pass."""
    found = RESULT.find_fault(limit)
    assert found == fault if fault is None else (found or "").startswith(fault)


def test_table_as_a_whole_is_judged_by_the_mean_of_other_shapes() -> None:
    """Protects the limit without a name, which means what it meant before there were conditions."""
    reports = [make_report(AS_SWEPT, 1.0, 1.0, swept=True), make_report(OTHER_SHAPES, 1.03, 1.0)]
    fault = VerifyResult(FACTS, (), reports, {}, margin=0.02).find_fault(RegretLimit(1.02))
    assert fault == "the table's mean regret on shapes without a row is 1.030, above the limit of 1.02"


@pytest.mark.parametrize("limit", [0.99, float("nan"), float("inf")])
def test_limit_below_one_or_none_is_refused(limit: float) -> None:
    """Protects a check from failing always or never."""
    with pytest.raises(ValueError, match="limit must be a finite number at least 1"):
        RegretLimit(limit)
