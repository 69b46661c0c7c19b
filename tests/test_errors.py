"""The text of a failure may quote anything, and must be safe on a terminal."""

import pytest

from moesort_tune.errors import MoesortTuneError, escape_unprintable
from moesort_tune.tables.errors import RefusedError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 測試", "plain, ünïcode 測試"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb\u200bc", r"a\u202eb\u200bc"),
        ("\udcff.yaml", r"\udcff.yaml"),
        ("\U000e0041", r"\U000e0041"),
        ("line\nline\ttab\r", "line\nline\ttab\\r"),
    ],
)
def test_failure_is_printable_whatever_it_quotes(text: str, shown: str) -> None:
    """File names, compilers' words and files' contents reach the terminal escaped; layout stays."""
    assert str(MoesortTuneError(text)) == shown
    assert str(RefusedError("tables", text)) == f"tables: {shown}"
    str(MoesortTuneError(text)).encode()


def test_escaping_keeps_only_the_named_characters() -> None:
    """A name is one line."""
    assert escape_unprintable("a\nb") == r"a\nb"
    assert escape_unprintable("a\nb\r", keep="\n") == "a\nb\\r"
