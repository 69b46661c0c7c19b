"""Rankings with ties at their top, and what two of them have in common."""

from moesort_tune.measure.verdict import Verdict, agree, make_tie


def test_verdicts_are_equal_where_the_same_candidates_are_best() -> None:
    """Protects spans of a row: the order of the losers is no reason for a switch or a tie."""
    assert Verdict(("a",), ("b", "c")) == Verdict(("a",), ("c", "b"))
    assert Verdict(("a",)) != Verdict(("a", "b"))
    assert len({Verdict(("a",), ("b", "c")), Verdict(("a",), ("c", "b"))}) == 1


def test_tie_of_verdicts_names_all_that_are_best_in_order() -> None:
    """Protects what lies between two unlike points: every candidate that may be best there, and no other."""
    tie = make_tie("abcd", Verdict(("d",), ("a", "b", "c")), Verdict(("a", "c"), ("b", "d")))
    assert tie.best == ("a", "c", "d")
    assert make_tie("abcd", Verdict(("b",))).winner == "b"


def test_second_measurement_that_disagrees_makes_a_tie_of_both() -> None:
    """Protects tables from noise that makes a winner up: it hardly does so twice."""
    again = Verdict(("a",), ("b", "c"))
    assert agree("abc", Verdict(("a",), ("c", "b")), again) is again
    assert agree("abc", Verdict(("b",)), again).best == ("a", "b")
    assert agree("abc", Verdict(("b", "c")), again).best == ("a", "b", "c")
    assert agree("abc", Verdict(("a", "b")), again).best == ("a", "b")
