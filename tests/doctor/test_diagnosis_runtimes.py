"""Inspection of a HIP runtime by doctor in a process of its own, which may die, hang or print."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import machine
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.doctor import probing
from moesort_tune.doctor.diagnosis import RuntimeState
from tests.device import stand_ins


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the amd runtime of a machine with these variables."""
    for name in stand_ins.HIDDEN:
        monkeypatch.delenv(name, raising=False)

    def ask_amd(**environment: str) -> RuntimeState:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return probing.ask([sys.executable, "-m", "moesort_tune.doctor.device_worker", "amd"], "amd")

    return ask_amd


@pytest.fixture
def rocm(tmp_path: Path) -> str:
    """Return a stand-in for ROCm 7.2."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", "7.2.53211")
    return str(tmp_path)


def test_every_device_is_reported_with_its_facts(ask: Any, rocm: str) -> None:
    """Protects the report, and that a driver that prints to standard output does not spoil it."""
    state = ask(ROCM_PATH=rocm, STAND_IN_DEVICES="2")
    assert state.failure is None
    assert state.missing_calls == ()
    assert (state.hip_version, state.compiler) == ("7.2.53211", "hiprtc 7.2")
    assert state.library == f"{rocm}/lib/libamdhip64.so.7.2.70200"
    assert [(device.ordinal, device.arch, device.compute_units) for device in state.devices] == [
        (0, "gfx942", 304),
        (1, "gfx942", 303),
    ]
    assert state.devices[0].target == "gfx942:sramecc+:xnack-"


def test_runtime_without_a_device_says_so(ask: Any, rocm: str) -> None:
    """Protects the commonest failure of all, hip's error 100; the rest of the report is there."""
    state = ask(ROCM_PATH=rocm, STAND_IN_DEVICES="0")
    assert state.failure.what == "hipGetDeviceCount failed with hipErrorNoDevice (100)"
    assert state.failure.remedy
    assert (state.hip_version, state.compiler, state.devices) == ("7.2.53211", "hiprtc 7.2", ())


def test_missing_compiler_leaves_the_devices(ask: Any, tmp_path: Path) -> None:
    """Protects a machine that only lacks hiprtc from looking like one without a GPU."""
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", "7.2.53211")
    state = ask(ROCM_PATH=str(tmp_path))
    assert len(state.devices) == 1
    assert state.compiler_failure.remedy == REMEDIES["no hiprtc"]


def test_old_runtime_is_reported_by_its_missing_calls(ask: Any, tmp_path: Path) -> None:
    """Protects HIP 5: it has devices, but no way to ask for their properties."""
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", "5.2.21153", "-DWITHOUT_R0600", "-DWITH_HIPRTC")
    state = ask(ROCM_PATH=str(tmp_path))
    assert state.missing_calls == ("hipGetDevicePropertiesR0600",)
    assert (state.hip_version, state.compiler) == ("5.2.21153", "hiprtc 5.2")


def test_crashing_driver_is_a_failure_of_its_runtime_alone(ask: Any, rocm: str) -> None:
    """Protects doctor: the process that queries the runtime dies, the one that reports does not."""
    state = ask(ROCM_PATH=rocm, STAND_IN_CRASH=str(int(signal.SIGSEGV)))
    assert state.failure.what == "the process that lists its devices died with SIGSEGV"
    assert state.failure.remedy == REMEDIES["runtime died"]


def test_hanging_driver_is_given_up() -> None:
    """Protects doctor from a driver that never answers."""
    state = probing.ask([sys.executable, "-c", "import time; time.sleep(60)"], "amd", seconds=0.2)
    assert state == RuntimeState("amd", failure=state.failure)
    assert state.failure is not None
    assert state.failure.what.endswith("did not end in 0.2 s")


def test_failing_process_is_reported_by_its_last_words() -> None:
    """Protects the cause of an exit that is not a signal."""
    state = probing.ask([sys.executable, "-c", "raise SystemExit('first line\\nno such thing')"], "cuda")
    assert state.failure is not None
    assert state.failure.what == "the process that lists its devices ended with exit status 1: no such thing"


@pytest.mark.parametrize("program", ["raise SystemExit", "print('no answer')", "import os; os._exit(0)"])
def test_process_that_ends_well_without_an_answer_is_a_failure(program: str) -> None:
    """Protects doctor from a driver that calls exit."""
    state = probing.ask([sys.executable, "-c", program], "amd")
    assert state.failure is not None
    assert state.failure.what == "the process that lists its devices ended without an answer"


def test_signal_without_a_name_is_reported_by_its_number() -> None:
    """Protects doctor from the signals that Python has no name for."""
    state = probing.ask([sys.executable, "-c", "import os; os.kill(os.getpid(), 42)"], "amd")
    assert state.failure is not None
    assert state.failure.what == "the process that lists its devices died with signal 42"


def test_variables_that_matter_are_reported_and_no_others() -> None:
    """Protects the report from becoming a dump of the user's environment."""
    environment = {"HIP_VISIBLE_DEVICES": "0", "MOESORT_TUNE_TABLE": "t", "MOESORT_HOST_SEED": "1", "HOME": "/root"}
    assert list(machine.select_variables(environment)) == [
        "HIP_VISIBLE_DEVICES",
        "MOESORT_HOST_SEED",
        "MOESORT_TUNE_TABLE",
    ]


def test_variables_are_fit_to_be_printed() -> None:
    """Protects the report from a path in another encoding, and the terminal from what it would obey."""
    assert machine.select_variables({"CXX": "caf\udce9 \033[31m"}) == {"CXX": "caf\ufffd \ufffd[31m"}
