"""Counting of calls by what was asked and what came of it."""

import threading

from moesort_tune.audit.tally import MAX_KINDS, MAX_WORDS, Asked, Tally
from moesort_tune.domain.vocabulary import Condition

ASKED = Asked(128, 4, Condition())
MASKED = Asked(128, 4, Condition(masked=True))


def test_calls_are_counted_by_shape_condition_and_reason() -> None:
    """Protects the report: each line of it is one kind of call, with the range of its tokens."""
    tally = Tally()
    assert tally.add(ASKED, "exact row", tokens=30, why=lambda: "a row")
    assert not tally.add(ASKED, "exact row", tokens=7, captured=True)
    assert tally.add(MASKED, "exact row", tokens=9)
    assert tally.add(ASKED, "neighbours")
    ((_, first), *others) = tally.list_counts()
    assert (first.calls, first.captured, first.tokens, first.why) == (2, 1, (7, 30), "a row")
    assert [kind.asked for kind, _ in others] == [MASKED, ASKED]
    assert tally.sum_reasons() == {"exact row": 3, "neighbours": 1}


def test_sentence_is_made_for_the_first_call_only() -> None:
    """Protects the time of every other call: an explanation takes microseconds."""
    tally, made = Tally(), list[int]()

    def explain() -> str:
        made.append(1)
        return "x" * 10_000

    for _ in range(3):
        tally.add(ASKED, "neighbours", why=explain)
    ((_, count),) = tally.list_counts()
    assert (len(made), len(count.why)) == (1, MAX_WORDS)


def test_kinds_are_bounded_and_no_call_is_lost() -> None:
    """Protects the memory of a server that is asked for ever new shapes."""
    tally = Tally()
    for experts in range(1, 3 * MAX_KINDS + 1):
        tally.add(Asked(experts, 1, Condition()), "exact row", tokens=experts)
    counts = tally.list_counts()
    assert len(counts) == MAX_KINDS + 1
    assert tally.sum_reasons() == {"exact row": 3 * MAX_KINDS}
    (rest,) = [count for kind, count in counts if kind.asked is None]
    assert rest.calls == 2 * MAX_KINDS


def test_no_count_is_lost_between_threads() -> None:
    """Protects servers that sort in several threads: the sum is the number of calls."""
    tally = Tally()

    def count() -> None:
        for index in range(2000):
            tally.add(ASKED if index % 2 else MASKED, "exact row")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.sum_reasons() == {"exact row": 16_000}
