"""`moesort-tune sweep` on several devices of the host runtime, under the virtual clock."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.sweep.row_search import BISECTION_POINTS
from moesort_tune.sweep.runner import PROBES
from moesort_tune.sweep.samples import Sample, get_samples_path, read_samples
from moesort_tune.tables import store
from moesort_tune.tables.schema import Entry
from tests.cli.swept import SMALL, HostMachine, build_clock
from tests.cli.test_sweep_host import is_alive
from tests.sweep.kernels import MULTIPHASE

GRID = ("--experts", "8,64", "--topk", "2,4", "--tokens", "30:96")

BY_UNITS = build_clock("300+40*tokens/units")
"""Oneshot takes as long as multiphase at 40 tokens with 4 compute units, at 80 with 8."""

FLEET = "units=4;units=4;units=4,slowdown=1.5;units=8;units=8,used=50"
"""Two variants: a slow card of the first, and one of the second that is in use."""


@pytest.fixture
def fleet(host: HostMachine) -> HostMachine:
    """Return a machine with the cards of FLEET."""
    host.set(DEVICES=FLEET, CLOCK=BY_UNITS)
    return host


def get_entries(machine: HostMachine) -> dict[int, Entry]:
    """Return the entries of the table by compute units."""
    return {entry.device.compute_units: entry for entry in store.load(machine.table).tables}


def get_switches(machine: HostMachine) -> dict[int, set[int]]:
    """Return the first switch of all rows by compute units."""
    return {units: {row.policy[1][0] for row in entry.rows} for units, entry in get_entries(machine).items()}


def sweep_all(machine: HostMachine, *options: str) -> int:
    """Return the exit status of a sweep on all devices."""
    return machine.sweep(*GRID, "--device", "all", *options)


def test_each_variant_gets_its_entry(fleet: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Cards are grouped by what they say, the slow one does not decide, the one in use is skipped: each is named."""
    assert sweep_all(fleet, "--json") == 0
    printed = capsys.readouterr()
    assert get_switches(fleet) == {4: {42}, 8: {83}}
    assert "device 4 is left out: it is in use: 50.0 GiB" in printed.err
    assert "0000:03:00 (moesort-tune host) takes 50% longer than others of its kind" in printed.err
    results = json.loads(printed.out)
    assert [[card.split()[-1] for card in result["cards"]] for result in results] == [
        ["0000:01:00", "0000:02:00", "0000:03:00"],
        ["0000:04:00"],
    ]
    assert ["0000:03:00" in text for text in results[0]["left_out"]] == [True]
    check_cards(fleet)


def check_cards(machine: HostMachine) -> None:
    """Every deciding point has two cards behind it in the samples where the variant has two."""
    evidence = {units: {row.evidence.cards for row in entry.rows} for units, entry in get_entries(machine).items()}
    assert evidence == {4: {2}, 8: {None}}
    cards: dict[tuple[int, int, int], set[str]] = {}
    for sample in list_samples(machine):
        if sample.pci_address != "0000:03:00":
            cards.setdefault((sample.compute_units, sample.num_experts, sample.tokens), set()).add(sample.pci_address)
    assert {(units, len(found)) for (units, *_), found in cards.items()} == {(4, 2), (8, 1)}


def list_samples(machine: HostMachine) -> list[Sample]:
    """Return the samples beside the table."""
    return read_samples(get_samples_path(machine.table))


def count_points(machine: HostMachine) -> Counter[tuple[str, int, int, bool]]:
    """Return how often each card measured each point."""
    return Counter(
        (one.pci_address, one.num_experts, one.tokens, one.confirmed)
        for one in list_samples(machine)
        if one.kernel == MULTIPHASE
    )


def test_dry_run_has_the_time_for_the_cards_at_hand(fleet: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind is listed with its cards, without the one in use; a second card does not halve two replicas.

    Nor does a third one, since a row is not split; and cards are compared first.
    """
    options = ("--dry-run", "--time-budget", "100000")
    seconds = {}
    for devices in ("0", "0,1", "all"):
        assert fleet.sweep(*GRID, *options, "--device", devices, "--json") == 0
        printed = capsys.readouterr()
        plans = json.loads(printed.out)
        plans = plans if isinstance(plans, list) else [plans]
        seconds[devices] = [plan["estimated_seconds"] for plan in plans]
    assert [(plan["kind"], len(plan["cards"])) for plan in plans] == [("4 compute units", 3), ("8 compute units", 1)]
    assert "device 4 is left out: it is in use" in printed.err
    one, compared = 2 * 2.0 * (8 + BISECTION_POINTS), 2.0 * PROBES
    assert seconds == {"0": [one], "0,1": [one + compared], "all": [one + compared, one]}
    assert sweep_all(fleet, *options) == 0
    text = capsys.readouterr().out
    assert "\n8 compute units: about 104 s on 1 card (" in text
    assert not fleet.table.exists()


def test_named_devices_are_the_ones_that_measure(fleet: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """--device 1,3 opens these two; a device that is not there is named, and the others go on."""
    assert fleet.sweep("--experts", "8", "--topk", "2", "--tokens", "1:8", "--device", "1,3,77") == 0
    assert {sample.pci_address for sample in list_samples(fleet)} == {"0000:02:00", "0000:04:00"}
    assert "device 77 is left out: hipSetDevice failed" in capsys.readouterr().err


def test_no_card_at_all_is_an_error(fleet: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep without a card writes nothing and says why each was left out."""
    assert fleet.sweep("--experts", "8", "--topk", "2", "--device", "4,9") == 1
    error = capsys.readouterr().err
    assert "no card can be used: device 4: it is in use" in error
    assert "device 9: hipSetDevice failed" in error
    assert not fleet.table.exists()


def test_one_device_is_used_whatever_else_runs_on_it(fleet: HostMachine) -> None:
    """--device 4 is a person's choice, as it was before there were several."""
    assert fleet.sweep("--experts", "8", "--topk", "2", "--tokens", "1:8", "--device", "4") == 0
    assert [sample.pci_address for sample in list_samples(fleet)][:1] == ["0000:05:00"]


@pytest.mark.parametrize("text", ["0,x", "-1", "1024", ""])
def test_bad_devices_are_bad_usage(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """What is no list of numbers is refused before anything is opened."""
    assert run(["sweep", "--device", text]) == 2
    assert "'--device'" in capsys.readouterr().err


def start(machine: HostMachine, *options: str) -> "subprocess.Popen[bytes]":
    """Start a sweep of all devices in a process of its own."""
    machine.monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-m", "moesort_tune.cli.main", "sweep", *SMALL, *GRID, "--device", "all"]
    return subprocess.Popen([*command, "--out", str(machine.table), *options], stderr=subprocess.PIPE)


def await_points(machine: HostMachine, process: "subprocess.Popen[bytes]", points: int) -> None:
    """Wait until so many points are on disk."""
    while process.poll() is None and sum(count_points(machine).values()) < points:
        time.sleep(0.01)


def test_killed_workers_cost_points_in_flight_only(fleet: HostMachine) -> None:
    """Three workers of four are killed in the middle: the table is what the clock says, and it is reported."""
    with start(fleet) as process:
        await_points(fleet, process, 20)
        for pid in list_workers(process.pid)[:3]:
            os.kill(pid, signal.SIGKILL)
        error = process.communicate()[1].decode()
    assert process.returncode == 0
    assert "died with SIGKILL" in error
    assert get_switches(fleet) == {4: {42}, 8: {83}}
    check_cards(fleet)
    assert max(count_points(fleet).values()) == 1


def list_workers(pid: int) -> list[int]:
    """Return the processes that a sweep started to run kernels in; its other child watches over semaphores."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_sweep_whose_driver_was_killed_is_resumed(fleet: HostMachine) -> None:
    """What was measured is on disk, no worker is left, and --resume measures the rest and nothing twice."""
    with start(fleet) as process:
        await_points(fleet, process, 40)
        workers = list_workers(process.pid)
        process.kill()
    assert workers
    assert not [pid for pid in workers if is_alive(pid)]
    assert sum(count_points(fleet).values()) >= 40
    assert sweep_all(fleet, "--resume") == 0
    assert max(count_points(fleet).values()) == 1
    assert {units: row.policy[1][0] for units, entry in get_entries(fleet).items() for row in entry.rows} == {
        4: 42,
        8: 83,
    }


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_sweep_ends_all_workers(fleet: HostMachine, number: signal.Signals, status: int) -> None:
    """Ctrl-C, or the end of a job's time: a status of its own, the points measured so far, no process left behind."""
    with start(fleet) as process:
        await_points(fleet, process, 40)
        workers = list_workers(process.pid)
        process.send_signal(number)
        assert process.wait() == status
    assert len(workers) == 4
    assert not [pid for pid in workers if is_alive(pid)]
    assert sum(count_points(fleet).values()) >= 40


def test_one_replica_is_enough_for_whoever_asks_for_it(fleet: HostMachine) -> None:
    """--replicas 1 measures a row on one card, and the row does not claim more."""
    assert sweep_all(fleet, "--replicas", "1") == 0
    assert {row.evidence.cards for entry in get_entries(fleet).values() for row in entry.rows} == {None}
    assert {units: row.policy[1][0] for units, entry in get_entries(fleet).items() for row in entry.rows} == {
        4: 42,
        8: 83,
    }


def test_verification_takes_a_card_of_each_variant(fleet: HostMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """--device all reports on each kind that the table has entries for; one device is reported as before."""
    assert fleet.sweep("--experts", "8", "--topk", "2", "--tokens", "30:48", "--device", "0,3") == 0
    capsys.readouterr()
    options = ("--settings", "none", "--points", "1", "--json")
    assert run(["verify", str(fleet.table), *options, "--device", "all"]) == 0
    printed = capsys.readouterr()
    assert [report["compute_units"] for report in json.loads(printed.out)] == [4, 8]
    assert "device 4 is left out: it is in use" in printed.err
    assert run(["verify", str(fleet.table), *options, "--device", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["compute_units"] == 8
