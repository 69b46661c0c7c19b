"""How doctor asks a HIP runtime: in a process of its own, which may die, hang or talk."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import machine, probing
from moesort_tune.device.diagnosis import RuntimeState
from moesort_tune.device.remedies import REMEDIES
from tests.device import stand_ins


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks the amd runtime of a machine with these variables."""
    for name in stand_ins.HIDDEN:
        monkeypatch.delenv(name, raising=False)

    def asked(**environment: str) -> RuntimeState:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return probing.ask([sys.executable, "-m", "moesort_tune.device.device_worker", "amd"], "amd")

    return asked


@pytest.fixture
def rocm(tmp_path: Path) -> str:
    """A stand-in for ROCm 7.2."""
    stand_ins.rocm_installation(tmp_path, "7.2.0", "7.2.53211")
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
    stand_ins.library(tmp_path / "lib" / "libamdhip64.so", "7.2.53211")
    state = ask(ROCM_PATH=str(tmp_path))
    assert len(state.devices) == 1
    assert state.compiler_failure.remedy == REMEDIES["no hiprtc"]


def test_old_runtime_is_told_by_its_missing_calls(ask: Any, tmp_path: Path) -> None:
    """Protects HIP 5: it has devices, but no way to ask for their properties."""
    stand_ins.library(tmp_path / "lib" / "libamdhip64.so", "5.2.21153", "-DWITHOUT_R0600", "-DWITH_HIPRTC")
    state = ask(ROCM_PATH=str(tmp_path))
    assert state.missing_calls == ("hipGetDevicePropertiesR0600",)
    assert (state.hip_version, state.compiler) == ("5.2.21153", "hiprtc 5.2")


def test_crashing_driver_is_a_failure_of_its_runtime_alone(ask: Any, rocm: str) -> None:
    """Protects doctor: the process that asked dies, the one that reports does not."""
    state = ask(ROCM_PATH=rocm, STAND_IN_CRASH=str(int(signal.SIGSEGV)))
    assert state.failure.what == "asked for its devices, its process ended with SIGSEGV"
    assert state.failure.remedy == REMEDIES["runtime died"]


def test_hanging_driver_is_given_up() -> None:
    """Protects doctor from a driver that never answers."""
    state = probing.ask([sys.executable, "-c", "import time; time.sleep(60)"], "amd", seconds=0.2)
    assert state == RuntimeState("amd", failure=state.failure)
    assert state.failure is not None
    assert state.failure.what.endswith("did not answer in 0 s")


def test_failing_process_is_told_by_its_last_words() -> None:
    """Protects the cause of an exit that is not a signal."""
    state = probing.ask([sys.executable, "-c", "raise SystemExit('first line\\nno such thing')"], "cuda")
    assert state.failure is not None
    assert state.failure.what == "asked for its devices, its process ended with exit status 1: no such thing"


def test_files_that_may_not_be_opened_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the difference between 'no GPU' and 'no permission', in a container even for root."""
    (tmp_path / "kfd").write_text("")
    (tmp_path / "renderD128").write_text("")
    monkeypatch.setattr(machine, "KFD", tmp_path / "kfd")
    monkeypatch.setattr(machine, "RENDER_NODES", tmp_path)
    monkeypatch.setattr(machine, "NVIDIA", tmp_path / "nvidiactl")
    monkeypatch.setattr("os.open", _refuse)
    assert machine.this_machine().forbidden == (str(tmp_path / "kfd"), str(tmp_path / "renderD128"))


def _refuse(path: Path, _flags: int) -> int:
    raise PermissionError(1, "Operation not permitted", str(path))


def test_machine_that_may_open_its_files_has_none_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects machines that are as they should be."""
    (tmp_path / "kfd").write_text("")
    monkeypatch.setattr(machine, "KFD", tmp_path / "kfd")
    monkeypatch.setattr(machine, "RENDER_NODES", tmp_path)
    assert machine.this_machine().kfd
    assert machine.this_machine().forbidden == ()


def test_variables_that_matter_are_reported_and_no_others() -> None:
    """Protects the report from becoming a dump of somebody's environment."""
    environment = {"HIP_VISIBLE_DEVICES": "0", "MOESORT_TUNE_TABLE": "t", "MOESORT_HOST_SEED": "1", "HOME": "/root"}
    assert list(machine.relevant_variables(environment)) == [
        "HIP_VISIBLE_DEVICES",
        "MOESORT_HOST_SEED",
        "MOESORT_TUNE_TABLE",
    ]
