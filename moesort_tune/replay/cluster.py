"""Run `ab` on a GPU of a Ray cluster: the whole comparison is one task, since its graphs and torch live there."""

import os
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.fleet.ray_cluster import Cluster
from moesort_tune.sweep.fleet.visibility import find_assigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from moesort_tune.replay.job import ReplayJob, ReplayResult


@dataclass(frozen=True)
class Replayed:
    """The answer of the task: the result with what was reported meanwhile, or the sentence of an error."""

    result: "ReplayResult | None"
    lines: tuple[str, ...]
    error: str = ""


def run_on_cluster(job: "ReplayJob", address: str, report: "Callable[[str], None]") -> "ReplayResult":
    """Replay on a GPU that is free, with the table of this machine. Raise MoesortTuneError."""
    text = None if job.table is None else job.table.read_bytes()
    with closing(Cluster(address)) as cluster:
        replayed: Replayed = cluster.run_task(replay_assigned, job, text)
    for line in replayed.lines:
        report(line)
    if replayed.result is None:
        raise MoesortTuneError(replayed.error)
    return replayed.result


def replay_assigned(job: "ReplayJob", table: bytes | None, assigned: list[str]) -> Replayed:
    """Replay on the GPU that Ray assigned to this process. table: the text of the job's table."""
    from moesort_tune.replay.job import run_replay

    lines: list[str] = []
    try:
        found = find_assigned(assigned, os.environ)
        for name in found.misleading:
            del os.environ[name]
        with tempfile.TemporaryDirectory() as folder:
            here = _write_table(Path(folder), job, table)
            result = run_replay(replace(job, ordinal=found.ordinal, table=here), lines.append)
        return Replayed(replace(result, table=job.table or result.table), tuple(lines))
    except MoesortTuneError as error:
        return Replayed(None, tuple(lines), str(error))


def _write_table(folder: Path, job: "ReplayJob", table: bytes | None) -> Path | None:
    """Return a copy of the job's table on this node, None where it names none."""
    if table is None or job.table is None:
        return None
    path = folder / job.table.name
    path.write_bytes(table)
    return path
