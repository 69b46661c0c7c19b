"""What is said of cards that cannot be used."""

import pytest

from moesort_tune.sweep.fleet.opening import format_left_out


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("device 4", "device 4 is left out: it is in use"),
        ("1 GPU", "1 GPU is left out: it is in use"),
        ("2 GPUs", "2 GPUs are left out: it is in use"),
        ("12 GPUs", "12 GPUs are left out: it is in use"),
    ],
)
def test_cards_that_are_left_out_are_one_or_several(name: str, sentence: str) -> None:
    """A name is that of a card, or the number of those that nobody can name."""
    assert format_left_out(name, "it is in use") == sentence
