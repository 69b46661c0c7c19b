"""The launch gap of this machine: measured in a process of its own, whose end never ends the report."""

import sys
from dataclasses import replace

import pytest

from moesort_tune.device import child
from moesort_tune.doctor.diagnosis import State
from moesort_tune.doctor.gap_probe import ProbedGap, ProbeError, ask, find_device, probe_launch_gap
from tests.doctor import states

TWO = replace(states.AMD, devices=(states.MI300X_DEVICE, replace(states.MI300X_DEVICE, ordinal=1)))


def measure_on_host(state: State = states.BARE) -> ProbedGap:
    """Return the gap of the host, whose runtime is built and cached."""
    gap = probe_launch_gap(state, 0)
    assert gap.failure == ""
    return gap


def test_gap_of_a_known_clock_is_found_in_every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects all three ways of timing, on a device whose every launch takes 3 us."""
    monkeypatch.setenv("MOESORT_HOST_CLOCK", "sentinel=3")
    gap = measure_on_host()
    assert (gap.runtime, gap.ordinal, gap.device) == ("host", 0, "moesort-tune host")
    assert [mode.mode for mode in gap.modes] == ["graph", "replay", "eager"]
    for mode in gap.modes:
        assert mode.gap_us == pytest.approx(3, abs=0.01)
        assert list(mode.times_us) == [1, 2, 4]


def test_failure_of_the_device_is_part_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the report of a machine whose driver dies in the probe: it says why, and everything else as well."""
    monkeypatch.setenv("MOESORT_HOST_FAIL", "hipStreamBeginCapture:4:2")
    gap = probe_launch_gap(states.BARE, 0)
    assert gap.modes == ()
    assert "the process that measures the launch gap ended with exit status 1" in gap.failure
    assert "hipStreamBeginCapture failed" in gap.failure


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('no such kernel')", "ended with exit status 1: no such kernel"),
        ("import os; os.kill(os.getpid(), 11)", "died with SIGSEGV"),
        ("print('driver says hello')", "ended without an answer"),
        ("import time; time.sleep(60)", "did not end in 1 s"),
    ],
)
def test_process_without_an_answer_is_an_error_that_says_how_it_ended(program: str, words: str) -> None:
    """Protects doctor from a driver that crashes, hangs, or prints into the answer."""
    with pytest.raises(ProbeError, match=words):
        ask([sys.executable, "-c", program], seconds=1)


def test_device_is_one_of_the_runtime_that_a_sweep_would_use() -> None:
    """With eight GPUs the probe measures the one that is named, and a number that is not there is an error."""
    state = states.with_amd(TWO)
    assert find_device(state, 1) == TWO.devices[1]
    with pytest.raises(ProbeError, match=r"there is no device 2 that the kernels are built for; --device takes 0, 1"):
        find_device(state, 2)


def test_machine_without_a_device_is_reported_and_not_refused() -> None:
    """Protects the bundle of a machine whose GPU no runtime opens: that is when its report is wanted most."""
    nothing = replace(states.BARE, runtimes=(states.ABSENT_AMD, states.ABSENT_CUDA, replace(states.HOST, devices=())))
    assert probe_launch_gap(nothing, 0).failure == "no runtime has a device to measure it on"


def test_worker_is_a_module_of_this_package() -> None:
    """Protects the command that the probe starts: it names a module that can be found."""
    command = child.build_python_command("moesort_tune.doctor.gap_worker", "host", "0")
    assert "moesort_tune.doctor.gap_worker" in command[2]
    assert command[3:] == ["host", "0"]
