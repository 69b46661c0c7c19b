"""The arrival model, and what each way to choose comes to over its steps."""

from pathlib import Path

import pytest

from moesort_tune.domain.presets import MODELS
from moesort_tune.errors import MoesortTuneError
from moesort_tune.replay.steps import (
    SERVED,
    choose_graph_sizes,
    read_trace,
    simulate_arrivals,
    summarize_runs,
)


def test_clients_ask_again_when_they_are_answered() -> None:
    """Two clients, three answers of 3 tokens: two prompts, two decoding steps, the third prompt, and its decoding."""
    steps = simulate_arrivals(concurrency=2, requests=3, input_tokens=10, output_tokens=3)
    assert steps == [20, 2, 2, 10, 1, 1]


def test_prompts_that_exceed_a_step_wait() -> None:
    """Ten prompts of 1000 tokens: eight fit into 8192 tokens, the others come beside the first decoding."""
    steps = simulate_arrivals(concurrency=10, requests=10, input_tokens=1000, output_tokens=4)
    assert steps == [8000, 8 + 2000, 10, 10, 2]


def test_prompt_longer_than_a_step_still_runs() -> None:
    """Protects the model from standing still."""
    for concurrency in (1, 2):  # alone: never beside another prompt, nor beside a decoding request
        steps = simulate_arrivals(concurrency=concurrency, requests=2, input_tokens=10_000, output_tokens=2)
        assert steps == [10_000, 1, 10_000, 1]


def test_running_requests_leave_less_room_for_prompts() -> None:
    """Protects the limit of a step: two prompts of 4096 tokens fill it, and beside one running request there is one."""
    steps = simulate_arrivals(concurrency=5, requests=5, input_tokens=4096, output_tokens=3)
    assert steps == [8192, 2 + 4096, 3 + 4096, 2 + 4096, 2, 1]


def test_nobody_asking_is_an_error() -> None:
    """Protects from a run that never ends."""
    with pytest.raises(ValueError, match="concurrency must be at least 1, got 0"):
        simulate_arrivals(concurrency=0, requests=3, input_tokens=10, output_tokens=3)


@pytest.mark.parametrize(("concurrency", "requests"), [(1, 1), (16, 64), (33, 100)])
def test_every_token_is_sorted_once(concurrency: int, requests: int) -> None:
    """Protects the load: every prompt's tokens and every decoded token but the last one are sorted."""
    steps = simulate_arrivals(concurrency=concurrency, requests=requests, input_tokens=1000, output_tokens=100)
    assert sum(steps) == requests * (1000 + 99)


def test_steps_are_padded_to_captured_sizes() -> None:
    """Protects the sizes that AITER sees: those of vLLM's graphs up to 512, beyond them the step's own."""
    assert choose_graph_sizes([1, 3, 8, 9, 256, 257, 512, 513, 8000]) == [1, 4, 8, 16, 256, 272, 512, 513, 8000]


def test_every_preset_can_be_replayed() -> None:
    """Protects `ab --model`: what sweep knows, ab knows."""
    assert SERVED.keys() == MODELS.keys()
    assert all(model.shape == MODELS[name] for name, model in SERVED.items())


def test_speedups_are_paired_by_repeat() -> None:
    """Protects the intervals: a slow moment of the machine that hits all ways in one repeat does not widen a ratio."""
    results = summarize_runs({"rule": [100.0, 200.0, 150.0], "table": [50.0, 100.0, 75.0]}, steps=10, baseline="rule")
    rule, table = results
    assert [rule.name, table.name] == ["rule", "table"]
    assert (rule.speedup.low, rule.speedup.high) == (1.0, 1.0)
    assert (table.speedup.low, table.speedup.median, table.speedup.high) == (2.0, 2.0, 2.0)
    assert (table.us_per_step.low, table.us_per_step.median, table.us_per_step.high) == (5.0, 7.5, 10.0)


def test_trace_is_read_from_a_file(tmp_path: Path) -> None:
    """Protects users with steps of their own."""
    path = tmp_path / "steps.txt"
    path.write_text("16\n16\n1000\n\n1\n16777215\n")
    assert read_trace(path) == [16, 16, 1000, 1, 16777215]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("16\nmany\n", "line 2: expected a token count from 1 to 16777215, got 'many'"),
        ("0\n", "got '0'"),
        ("\n\n16\n\nx\n", "line 5: expected a token count"),
        ("1 2 3\n", "line 1: expected a token count from 1 to 16777215, got '1 2 3'"),
        ("9" * 5000, "line 1: expected a token count"),
        ("\u0663\n", "line 1: expected a token count"),
        ("16777216\n", "got '16777216'"),
        ("", "empty"),
    ],
)
def test_file_that_is_no_trace_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """Protects against a wrong file: the line is named."""
    path = tmp_path / "steps.txt"
    path.write_text(text)
    with pytest.raises(MoesortTuneError, match=words):
        read_trace(path)


def test_mark_at_the_start_of_a_file_is_passed_over(tmp_path: Path) -> None:
    """Protects files of editors that write a byte order mark."""
    (tmp_path / "trace.txt").write_bytes(b"\xef\xbb\xbf16\r\n17\r\n")
    assert read_trace(tmp_path / "trace.txt") == [16, 17]


def test_missing_trace_is_reported(tmp_path: Path) -> None:
    """Protects against a misspelt name."""
    with pytest.raises(MoesortTuneError, match=r"cannot read .*none.txt"):
        read_trace(tmp_path / "none.txt")
