"""What counts as proof that a table is in use."""

from collections.abc import Sequence

import pytest

from moesort_tune.audit.judgement import Judgement, Reports, convert_log, judge
from moesort_tune.audit.log_lines import read_log
from moesort_tune.audit.reasons import FAILED, NO_KERNEL, NOT_SORTED, REPLACED, Use, classify
from moesort_tune.audit.record import Calls, Process, Record
from moesort_tune.audit.tally import SORTING
from moesort_tune.runtime.lookup import Reason

ALIGN = "moe_align_block_size of vLLM"


def make(
    pid: int = 1, counts: dict[str, int] | None = None, *, is_faulty: bool = False, function: str = SORTING
) -> Record:
    """Return a record with so many calls for each reason."""
    calls = [Calls(num_experts=128, topk=4, reason=reason, calls=times) for reason, times in (counts or {}).items()]
    process = Process(pid=pid, host="worker", started="", token="0" * 8)
    return Record(
        function=function,
        process=process,
        written="",
        state="a state",
        is_faulty=is_faulty,
        table="t",
        kernels="aiter",
        calls=calls,
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_dispatcher_has_a_meaning(reason: Reason) -> None:
    """Protects new reasons from being counted as inconclusive without a thought."""
    assert classify(reason.value) is not Use.INCONCLUSIVE


@pytest.mark.parametrize(
    ("reason", "use"),
    [
        ("exact row", Use.EXACT),
        ("beyond the swept range", Use.WRONG_KEY),
        ("left to the kernels' own rule", Use.WRONG_KEY),
        (NOT_SORTED, Use.NOTHING_TO_DECIDE),
        ("no tokens", Use.NOTHING_TO_DECIDE),
        ("left alone: CK", Use.NEVER_READ),
        ("left alone: unexpected error", Use.NEVER_READ),
        ("SGLang's default policy", Use.NEVER_READ),
        (REPLACED, Use.REPLACED),
        (FAILED, Use.INCONCLUSIVE),
        (NO_KERNEL, Use.INCONCLUSIVE),
        ("taken: exact row", Use.TAKEN),
        ("taken: nearest experts", Use.TAKEN),
        ("left to the framework: not supported by the kernels", Use.LEFT),
        ("left to the framework: the caller's own policy", Use.LEFT),
        ("a reason of a later version", Use.INCONCLUSIVE),
    ],
)
def test_reasons_mean_what_they_say(reason: str, use: Use) -> None:
    """Protects the share: only a row of the table is a decision of the table."""
    assert classify(reason) is use


def judge_all(records: list[Record], at_least: float, faults: Sequence[str] = ()) -> Judgement:
    """Judge records."""
    return judge(Reports(records, list(faults), "no process has reported"), at_least)


def test_share_is_judged_for_each_process() -> None:
    """Protects against one worker that nobody steers among many that are."""
    records = [make(1, {"exact row": 900}), make(2, {"exact row": 1, "neighbours": 8, "nonsense": 2})]
    judgement = judge_all(records, 0.9)
    assert [one.share for one in judgement.processes] == [1.0, 9 / 11]
    assert [one.guessed for one in judgement.processes] == [0, 8]
    assert judgement.faults == ["process 2 on worker: the table decides 9 of its 11 sorts (81.8%), less than 0.9"]
    assert judge_all(records, 0.8).passed


@pytest.mark.parametrize(("decided", "passes"), [(9000, True), (8999, False)])
def test_share_is_compared_exactly(*, decided: int, passes: bool) -> None:
    """Protects scripts: a share of 90.0 % that is less than 0.9 is said in numbers, and one that is 0.9 passes."""
    judgement = judge_all([make(1, {"exact row": decided, "left alone: CK": 10000 - decided})], 0.9)
    assert judgement.passed is passes
    assert all(f"{decided} of its 10000 sorts" in fault for fault in judgement.faults)


def test_calls_with_nothing_to_decide_do_not_count() -> None:
    """Protects models whose layers sort by themselves for some sizes."""
    assert judge_all([make(1, {"exact row": 1, NOT_SORTED: 1000, "no tokens": 10})], 1.0).passed


def test_process_that_sorted_nothing_is_not_judged() -> None:
    """Protects launchers and schedulers, in which the plugin runs too."""
    judgement = judge_all([make(1, {"exact row": 1}), make(2)], 1.0)
    assert judgement.passed
    assert judgement.processes[1].share is None


@pytest.mark.parametrize("records", [[], [make(1)], [make(1, {NOT_SORTED: 5})]])
def test_no_sort_anywhere_is_no_proof(records: list[Record]) -> None:
    """Protects against a server whose AITER is switched off: nothing went wrong, and nothing was decided."""
    judgement = judge_all(records, 0.0)
    assert len(judgement.faults) == 1
    assert not judgement.passed


def test_each_function_is_judged_by_itself() -> None:
    """Protects the one proof from the other: sorts of AITER's say nothing of alignments, and the reverse."""
    sorted_only = judge_all([make(1, {"exact row": 9}), make(1, function=ALIGN)], 0.9)
    assert sorted_only.faults == [
        f"no process has called {ALIGN}: send a request of more tokens, and see that the model's layers run one of the "
        "framework's kernels that need it"
    ]
    aligned_only = judge_all([make(1, {"taken: exact row": 9}, function=ALIGN), make(1)], 0.9)
    (fault,) = aligned_only.faults
    assert fault.startswith("no process has sorted anything through AITER's moe_sorting")
    assert judge_all([make(1, {"taken: exact row": 9}, function=ALIGN)], 0.9).passed
    (fault,) = judge_all([make(1, {"taken: exact row": 1, "left to the framework: x": 3}, function=ALIGN)], 0.9).faults
    assert (
        fault
        == f"process 1 on worker: the kernels of moesort-tune do 1 of its 4 calls of {ALIGN} (25.0%), less than 0.9"
    )


def test_process_that_could_not_be_steered_fails() -> None:
    """Protects against a worker that counts nothing because its table was refused."""
    assert judge_all([make(1, {"exact row": 1}), make(2, is_faulty=True)], 0.9).faults == [
        "process 2 on worker: a state"
    ]


def test_report_that_cannot_be_read_fails() -> None:
    """Protects against a process of which nobody knows what it did."""
    assert not judge_all([make(1, {"exact row": 1})], 0.9, ["x is no record"]).passed


def test_failure_in_a_log_fails() -> None:
    """Protects against a worker that has only said why it cannot be steered, beside one that is."""
    log = read_log(
        [
            "INFO moe_sorting in process 41 on w (00112233), 9 calls (0 under capture): 9 exact row.\n",
            "WARN moesort-tune does nothing in this process: no AITER\n",
        ]
    )
    judgement = judge(convert_log(log), 0.9)
    assert judgement.processes[0].share == 1.0
    assert judgement.faults == ["logged: moesort-tune does nothing in this process: no AITER"]
