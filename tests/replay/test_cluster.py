"""`ab` in a task of a Ray cluster, as far as that needs no cluster."""

import pytest

from moesort_tune.domain.settings import NamedRouting
from moesort_tune.replay.cluster import replay_assigned
from moesort_tune.replay.job import ReplayJob
from moesort_tune.replay.steps import SERVED


def test_error_of_the_task_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error crosses Ray as a sentence, so that a person reads that and no traceback of Ray's."""
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    job = ReplayJob(model=SERVED["gpt-oss-120b"], concurrency=(1,), repeats=1, seed=0, routing=NamedRouting())
    answer = replay_assigned(job, None, ["7"])
    assert answer.result is None
    assert answer.error.startswith("Ray assigned the GPU 7, but HIP_VISIBLE_DEVICES=0 hides it")
