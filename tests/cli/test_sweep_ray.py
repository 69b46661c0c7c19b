"""`moesort-tune sweep --engine ray` on a real local cluster, whose GPUs are devices of the host runtime."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.sweep.fleet import ray_cluster
from moesort_tune.sweep.fleet.opening import NoCardsError
from moesort_tune.sweep.samples import get_samples_path
from tests.cli.swept import SMALL, HostMachine
from tests.cli.test_sweep_fleet import BY_UNITS, GRID, await_points, count_points, get_entries, get_switches
from tests.opt_in import skip_or_fail

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]  # one cluster for all: it takes seconds to start

DEVICES = "units=4;units=4;units=4,slowdown=1.5;units=8;units=8"
"""Two variants, one with a slow card."""

ONE_SHAPE = ("--experts", "8", "--topk", "2")

TWO_SHAPES = ("--topk", "2")

OBJECT_STORE_BYTES = 80_000_000
"""Near the least that Ray takes: requests and answers are small."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster with as many GPUs as there are DEVICES, and yield its address."""
    try:
        import ray
    except ImportError:
        skip_or_fail("ray", "Ray is not installed (pip install ray)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOESORT_HOST_CHECK", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=len(DEVICES.split(";")),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
        )
        yield str(ray.get_runtime_context().gcs_address)
        ray.shutdown()


@pytest.fixture
def fleet(host: HostMachine) -> HostMachine:
    """Return a machine with DEVICES, whose kernels cross by their compute units."""
    host.set(DEVICES=DEVICES, CLOCK=BY_UNITS)
    return host


def start(machine: HostMachine, address: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start a sweep on the cluster in a process of its own."""
    machine.monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-m", "moesort_tune.cli.main", "sweep", *SMALL, *GRID, "--out", str(machine.table)]
    command += ["--engine", "ray", "--address", address, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def list_actors() -> list[int]:
    """Return the processes of this test's cluster that hold a card; another test run has its own."""
    raylets = {pid for pid, parent in _list_processes().items() if parent == os.getpid()}
    return [
        pid
        for pid, parent in _list_processes().items()
        if parent in raylets and b"ray::CardActor" in _read(Path(f"/proc/{pid}/cmdline"))
    ]


def _list_processes() -> dict[int, int]:
    """Return the parent of each process."""
    stats = (_read(path) for path in Path("/proc").glob("[0-9]*/stat"))
    return {int(stat.split()[0]): int(stat.rpartition(b")")[2].split()[1]) for stat in stats if stat}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def await_no_actors() -> None:
    """Wait until every actor has ended, as those of a driver that is gone do."""
    for _ in range(3000):
        if not list_actors():
            return
        time.sleep(0.02)
    raise AssertionError(f"expected no actors, got {list_actors()}")


def test_third_of_killed_workers_costs_points_in_flight_only(cluster: str, fleet: HostMachine) -> None:
    """The table agrees outside its ties with that of a local sweep; variants, slow card and losses are reported.

    What Ray prints of the losses does not mix with the results.
    """
    with start(fleet, cluster, *TWO_SHAPES, "--json") as process:
        await_points(fleet, process, 30)
        for pid in list_actors()[::3]:
            os.kill(pid, signal.SIGKILL)
        printed, remarks = process.communicate()
    error = remarks.decode()
    assert process.returncode == 0, error
    assert [len(result["cards"]) for result in json.loads(printed)] == [3, 2]
    assert "its actor was lost" in error
    assert "0000:03:00 (moesort-tune host) takes 50% longer than others of its kind" in error
    assert {units: {row.evidence.cards for row in entry.rows} for units, entry in get_entries(fleet).items()} == {
        4: {2},
        8: {2},
    }
    assert max(count_points(fleet).values()) == 1
    local = fleet.folder / "local.yaml"
    assert run(["sweep", *SMALL, *GRID, *TWO_SHAPES, "--device", "all", "--out", str(local)]) == 0
    assert run(["diff", str(fleet.table), str(local), "--exit-code"]) == 0


def test_sweep_whose_driver_was_killed_is_resumed_by_another_engine(cluster: str, fleet: HostMachine) -> None:
    """No actor outlives the driver; what was measured is taken over, and nothing is measured twice."""
    with start(fleet, cluster, *ONE_SHAPE) as process:
        await_points(fleet, process, 25)
        process.kill()
        process.communicate()
    await_no_actors()
    measured = count_points(fleet)
    assert sum(measured.values()) >= 25
    assert fleet.sweep(*GRID, *ONE_SHAPE, "--device", "all", "--resume") == 0
    assert get_switches(fleet) == {4: {42}, 8: {83}}
    assert max(count_points(fleet).values()) == 1
    assert count_points(fleet) >= measured


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_sweep_ends_its_actors(cluster: str, fleet: HostMachine, number: int, status: int) -> None:
    """Ctrl-C, or the end of a job's time: a status of its own, the points measured so far, no actor left behind."""
    with start(fleet, cluster) as process:
        await_points(fleet, process, 2)
        process.send_signal(number)
        error = process.communicate()[1].decode()
    assert process.returncode == status
    assert "Traceback" not in error
    assert "*** SIG" not in error  # Ray's own handler
    await_no_actors()
    assert sum(count_points(fleet).values()) >= 2


def test_cluster_that_is_not_there_is_reported(cluster: str, fleet: HostMachine) -> None:
    """A person learns how to start one; no worker is opened, and nothing is written."""
    nowhere = cluster.rpartition(":")[0] + ":1"
    with start(fleet, nowhere) as process:
        error = process.communicate()[1].decode()
    assert process.returncode == 1
    assert f"no Ray cluster can be used at {nowhere}" in error
    assert "start one with `ray start --head`" in error
    assert not get_samples_path(fleet.table).exists()


@pytest.fixture
def parts(cluster: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Hold a part of each GPU of the cluster, and yield what is left as Ray counts it."""
    del cluster
    import ray
    from ray.util import placement_group, remove_placement_group

    monkeypatch.setattr(ray_cluster, "PLACE_SECONDS", 1.0)
    held = placement_group([{"GPU": 0.6}] * 5)
    ray.get(held.ready())
    yield "2 GPUs"
    remove_placement_group(held)


@pytest.mark.parametrize(
    "use",
    [
        lambda cluster: ray_cluster.RayEngine(cluster, "host", 1.0).open_workers("builtin"),
        lambda cluster: cluster.run_task(print),
    ],
    ids=["sweep", "ab"],
)
def test_gpus_that_others_hold_in_part_are_not_waited_for(
    parts: str, use: Callable[[ray_cluster.Cluster], object]
) -> None:
    """What Ray never places is an error after a while, for tasks as well."""
    with (
        closing(ray_cluster.Cluster("auto")) as connected,
        pytest.raises(NoCardsError, match=f"Ray found no whole GPU within 1 s, though it counts {parts} free"),
    ):
        use(connected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "ray", "--device", "1"), "with --engine ray, Ray places the workers"),
        (("--address", "auto"), "use it with --engine ray"),
        (("--engine", "slurm"), "'slurm' is not one of"),
    ],
)
def test_options_of_the_other_engine_are_bad_usage(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    """What would be ignored is refused."""
    assert run(["sweep", *options]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def table(fleet: HostMachine) -> Path:
    """Return a table of one row of the variant with 8 compute units."""
    assert fleet.sweep("--experts", "128", "--topk", "4", "--tokens", "60:70", "--device", "3") == 0
    return fleet.table


def run_on(cluster: str, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with --engine ray in a process of its own."""
    whole = [
        sys.executable,
        "-m",
        "moesort_tune.cli.main",
        command,
        *arguments,
        "--engine",
        "ray",
        "--address",
        cluster,
    ]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_table_is_verified_on_a_card_of_each_variant(cluster: str, table: Path) -> None:
    """Cards are opened on the cluster, and one of each kind measures what the table's choices cost."""
    options = ("--settings", "none", "--points", "1", "--fail-above", "as-swept=1.2", "--json")
    result = run_on(cluster, "verify", str(table), *options)
    assert result.returncode == 1
    assert [report["compute_units"] for report in json.loads(result.stdout)] == [4, 8]
    assert "moesort-tune host, 4 compute units: the table's regret reaches" in result.stderr
    assert "8 compute units: the table's" not in result.stderr


def test_serving_run_is_replayed_on_a_gpu_of_the_cluster(cluster: str, table: Path) -> None:
    """The task gets the table of this machine, and the result names it."""
    options = ("--model", "gpt-oss-120b", "--concurrency", "2", "--repeats", "1", "--table", str(table), "--json")
    result = run_on(cluster, "ab", *options)
    assert result.returncode == 0, result.stderr
    replayed = json.loads(result.stdout)
    assert replayed["table"] == str(table)
    assert [policy["name"] for policy in replayed["runs"][0]["results"]][-2:] == ["table", "oracle"]
    assert "concurrency 2: 8 steps" in result.stderr
