"""Print what a sweep on a Ray cluster costs its driver, by the number of actors: messages, memory, size of the files.

Everything runs on this machine, on devices of the host runtime under its virtual clock, so the kernels take no time
worth measuring and no time is printed. Needs Ray.

    python scripts/bench_fleet.py [--actors 1,2,4,8,16] [--kinds 1] [--rows 8]
"""

import os
import pickle
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from moesort_tune.cli.progress import LineProgress
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.fleet.options import Fleet
from moesort_tune.sweep.fleet.ray_cluster import RayEngine, import_ray
from moesort_tune.sweep.grid import parse_integers
from moesort_tune.sweep.job import SweepJob, run_job
from moesort_tune.sweep.search import TokenRange
from moesort_tune.sweep.worker.messages import Request

CLOCK: Final = "moe_sorting_wave*=9000;moe_sorting_oneshot*=300+40*tokens/units;moe_sorting_*=350;*=500"
"""Oneshot takes as long as multiphase at 40 tokens with 4 compute units, later with more."""

OBJECT_STORE_BYTES: Final = 80_000_000
"""Near the least that Ray takes."""

KIB: Final = 1024

COLUMNS: Final = (
    *("actors", "kinds", "rows", "points", "requests", "KiB sent", "KiB received"),
    *("driver MiB", "threads", "table KiB", "samples KiB"),
)


@dataclass
class Traffic:
    """Requests to actors with the size of their pickles, and the most threads that the driver had meanwhile."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    threads: int = 0

    def watch(self) -> None:
        """Count the requests of every engine of this process."""
        ask = RayEngine.ask

        def count(engine: RayEngine, actor: Any, provider: str, request: Request, **options: Any) -> Any:
            answer = ask(engine, actor, provider, request, **options)
            self.requests += 1
            self.sent += len(pickle.dumps((provider, request)))
            self.received += len(pickle.dumps(answer))
            self.threads = max(self.threads, threading.active_count())
            return answer

        RayEngine.ask = count  # type: ignore[method-assign]


def measure(actors: int, kinds: int, rows: int) -> tuple[float, ...]:
    """Return the figures of one sweep, in a process of its own."""
    devices = [f"units={4 * (1 + number * kinds // actors)}" for number in range(actors)]
    os.environ |= {"MOESORT_TUNE_RUNTIME": "host", "MOESORT_HOST_CHECK": "0", "MOESORT_HOST_CLOCK": CLOCK}
    os.environ["MOESORT_HOST_DEVICES"] = ";".join(devices)
    quiet: dict[str, Any] = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
    import_ray().init("local", num_cpus=2, num_gpus=actors, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    traffic = Traffic()
    traffic.watch()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "host.yaml")
        results = run_job(build_job(table, rows), LineProgress(Console(quiet=True), lambda _line: None))
        samples = results[0].samples
        points = sum(line.count(",multiphase,") > 0 for line in samples.read_text().splitlines())
        files = [path.stat().st_size / KIB for path in (table, samples)]
    counts = (actors, len(results), sum(len(result.result.rows) for result in results), points, traffic.requests)
    return (*counts, traffic.sent / KIB, traffic.received / KIB, read_peak_mib(), traffic.threads, *files)


def build_job(table: Path, rows: int) -> SweepJob:
    """Return a sweep of so many shapes, whose kernels really run in milliseconds."""
    return SweepJob(
        arch="host",
        providers=("builtin",),
        shapes=[Shape(8 + number, 2) for number in range(rows)],
        tokens=TokenRange(1, 128),
        settings=Settings(model_dim=32),
        rule=StoppingRule(),
        table=table,
        time_budget_s=3600.0,
        fleet=Fleet("ray"),
    )


def read_peak_mib() -> float:
    """Return the most memory that this process has held."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / KIB


@click.command()
@click.option("--actors", default="1,2,4,8,16", show_default=True)
@click.option("--kinds", default=1, show_default=True, help="Variants of compute units among them.")
@click.option("--rows", default=8, show_default=True)
def main(actors: str, kinds: int, rows: int) -> None:
    """Print one line for each number of actors."""
    click.echo("".join(f"{column:>14}" for column in COLUMNS))
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        for count in parse_integers(actors):
            figures = processes.submit(measure, count, min(kinds, count), rows).result()
            click.echo("".join(f"{figure:>14.0f}" for figure in figures))


if __name__ == "__main__":
    main()
