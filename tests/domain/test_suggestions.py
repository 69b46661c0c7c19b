"""Help with names that are not known."""

import pytest

from moesort_tune.domain.suggestions import suggest


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("swep", "did you mean sweep?"),
        ("shwo", "did you mean show?"),
        ("xyz", "there are sweep, show, sew"),
        ("sweew", "did you mean sweep or sew?"),
    ],
)
def test_close_names_are_suggested_and_all_where_none_is(text: str, sentence: str) -> None:
    """A typing error gets its correction, a guess the whole list."""
    assert suggest(text, ["sweep", "show", "sew"]) == sentence
