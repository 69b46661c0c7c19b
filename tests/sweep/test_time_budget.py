"""What a time budget is worth: regret against seconds, on the times that an H100 had."""

from functools import cache
from statistics import mean

import pytest

from moesort_tune.sweep.runner import SweepResult
from tests.sweep.recorded import compute_losses, sweep_for

ROWS = 33


@cache
def sweep_once(seconds: float) -> SweepResult:
    """Return the result of a sweep of so many seconds."""
    return sweep_for(seconds)[0]


@pytest.mark.parametrize(("seconds", "mean_loss", "worst_loss"), [(10, 0.002, 0.01), (60, 0.0005, 0.003)])
def test_every_row_is_there_and_loses_little(seconds: float, mean_loss: float, worst_loss: float) -> None:
    """In 10 s, in which no row of these was searched before, every one has an answer; in 60 s they are nearly exact."""
    result = sweep_once(seconds)
    losses = compute_losses(result)
    assert len(result.rows) == len(losses) == ROWS
    assert mean(losses.values()) < mean_loss
    assert max(losses.values()) < worst_loss


def test_loss_that_a_table_expects_is_about_what_it_loses() -> None:
    """The figure by which rows are refined, and that `show` prints, is an honest one: within a factor of two here."""
    result = sweep_once(10)
    expected = mean(row.evidence.expected_loss or 0.0 for row in result.rows)
    assert expected == pytest.approx(mean(compute_losses(result).values()), rel=0.5)
