"""Failures of real machines: the error carries the same remedy as doctor."""

from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import remedies
from moesort_tune.device.kfd import KfdGpu
from moesort_tune.device.machine import Machine
from moesort_tune.device.remedies import REMEDIES, Symptom
from tests.device import stand_ins

GPU = (KfdGpu(1, "gfx942", 304, 65536),)
HIDDEN = {"HIP_VISIBLE_DEVICES": "-1"}


@pytest.mark.parametrize(
    ("machine", "symptom"),
    [
        (Machine(), "no kfd"),
        (Machine(kfd=True, kfd_gpus=GPU, forbidden=("/dev/kfd",)), "kfd forbidden"),
        (Machine(kfd=True, kfd_gpus=None, forbidden=("/dev/dri/renderD128",), environment=HIDDEN), "kfd forbidden"),
        (Machine(kfd=True, kfd_gpus=GPU, environment=HIDDEN), "devices hidden"),
        (Machine(kfd=True, kfd_gpus=(), environment=HIDDEN), "no AMD GPU"),
        (Machine(kfd=True, kfd_gpus=GPU), "HIP sees no device"),
    ],
)
def test_no_device_has_the_cause_that_the_machine_shows(machine: Machine, symptom: Symptom) -> None:
    """Protects the remedy: HIP reports a lack of permission, hidden devices and an empty machine alike."""
    assert remedies.diagnose_no_device("amd", machine) == symptom
    assert remedies.suggest_for_hip_error("hipErrorNoDevice", "amd", machine) == REMEDIES[symptom]


def test_hidden_nvidia_devices_are_reported_by_their_own_variable() -> None:
    """Protects the cuda runtime: HIP_VISIBLE_DEVICES means nothing to NVIDIA's driver."""
    assert remedies.diagnose_no_device("cuda", Machine(nvidia=True, environment=HIDDEN)) == "no NVIDIA device"
    hidden = Machine(nvidia=True, environment={"CUDA_VISIBLE_DEVICES": ""})
    assert remedies.diagnose_no_device("cuda", hidden) == "devices hidden"


@pytest.mark.parametrize(
    ("name", "symptom"),
    [
        ("hipErrorOutOfMemory", "out of memory"),
        ("hipErrorNoBinaryForGpu", "code for another GPU"),
        ("hipErrorInvalidImage", "code for another GPU"),
        ("hipErrorLaunchFailure", "launch failed"),
        ("hipErrorIllegalAddress", "launch failed"),
        ("hipErrorInvalidConfiguration", "refused launch"),
    ],
)
def test_hip_error_names_its_remedy(name: str, symptom: Symptom) -> None:
    """Protects the errors that mean the same on every machine."""
    assert remedies.suggest_for_hip_error(name, "amd", Machine()) == REMEDIES[symptom]


def test_host_runtimes_own_words_are_left_alone() -> None:
    """Protects the host runtime's reports of a barrier or an access, which no kernel log explains."""
    assert remedies.suggest_for_hip_error("hipErrorLaunchFailure", "host", Machine(), explained=True) == ""
    assert (
        remedies.suggest_for_hip_error("hipErrorOutOfMemory", "host", Machine(), explained=True)
        == REMEDIES["out of memory"]
    )


def test_error_without_a_known_remedy_has_none() -> None:
    """Protects against advice that is made up."""
    assert remedies.suggest_for_hip_error("hipErrorInvalidValue", "amd", Machine()) == ""


PROVOKE = """
from moesort_tune.device import compiler, hip, libraries
from moesort_tune.errors import MoesortTuneError
libraries.choose("amd")
try:
    {call}
except MoesortTuneError as error:
    print(json.dumps(str(error)))
"""


def catch_error(call: str, **where: Any) -> str:
    """Return the error of `call` in a process with stand-ins for ROCm."""
    error: str = stand_ins.run(PROVOKE.format(call=call), **where)
    return error


def test_out_of_memory_says_what_to_ask_less_of(tmp_path: Path) -> None:
    """Protects a sweep beside another job: which call failed, with what, and what to do."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", "7.2.53211")
    error = catch_error("hip.Buffer(1 << 20)", opt_rocm=tmp_path, STAND_IN_MALLOC_ERROR="2")
    assert error == f"hipMalloc failed with hipErrorOutOfMemory (2); {REMEDIES['out of memory']}"


def test_launch_that_fails_midway_says_how_to_go_on(tmp_path: Path) -> None:
    """Protects a long sweep: a kernel's death shows up at the next wait, and nothing on the GPU survives it."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", "7.2.53211")
    error = catch_error("hip.open_device().synchronize()", opt_rocm=tmp_path, STAND_IN_SYNCHRONIZE_ERROR="719")
    assert error == f"hipDeviceSynchronize failed with hipErrorLaunchFailure (719); {REMEDIES['launch failed']}"
    assert "--resume" in error


def test_missing_rocm_says_what_to_install() -> None:
    """Protects a GPU machine without ROCm."""
    error = catch_error("hip.count_devices()")
    assert error.startswith("hipGetDeviceCount failed with missing call (-1): libamdhip64.so cannot serve it")
    assert error.endswith(REMEDIES["no HIP library"])


def test_missing_hiprtc_says_what_to_install(tmp_path: Path) -> None:
    """Protects a ROCm without its run-time compiler, where prebuilt kernels still work."""
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", "7.2.53211")
    error = catch_error('compiler.compile_in_child(compiler.Unit("oneshot.hip", "gfx942"))', opt_rocm=tmp_path)
    assert error.startswith("oneshot.hip could not be compiled for gfx942: hiprtcCreateProgram failed")
    assert error.endswith(REMEDIES["no hiprtc"])


def test_too_old_rocm_says_so(tmp_path: Path) -> None:
    """Protects HIP 5, which lacks the call by which every hip-python reads a device's properties."""
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", "5.2.21153", "-DWITHOUT_R0600")
    error = catch_error("hip.open_device()", opt_rocm=tmp_path)
    assert error.startswith("hipGetDeviceProperties failed with missing call")
    assert "hipGetDevicePropertiesR0600" in error
    assert error.endswith(REMEDIES["missing call"])


def test_misfit_is_answered_with_the_command(tmp_path: Path) -> None:
    """Protects the exact pip command where a call is missing because hip-python is of another release than ROCm."""
    (tmp_path / ".info").mkdir()
    (tmp_path / ".info" / "version").write_text("6.3.1-48\n")
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", "6.3.42131", "-DWITHOUT_R0600")
    assert catch_error("hip.open_device()", opt_rocm=tmp_path).endswith("; pip install 'hip-python~=6.3.0'")


def test_compiler_that_hangs_is_given_up(tmp_path: Path) -> None:
    """Protects a start from a hiprtc that never answers."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", "7.2.53211")
    unit = 'compiler.Unit("oneshot.hip", "gfx942")'
    call = f'setattr(compiler, "COMPILE_SECONDS", 0.001) or compiler.compile_in_child({unit})'
    error = catch_error(call, opt_rocm=tmp_path)
    library = tmp_path / "lib" / "libhiprtc.so"
    assert error == f"hiprtc ({library}), compiling oneshot.hip for gfx942, did not end in 0.001 s"


def test_compiler_that_dies_takes_nobody_along(tmp_path: Path) -> None:
    """Protects against old hiprtc versions, which abort the process for a target that they do not know."""
    stand_ins.make_rocm_installation(tmp_path, "5.2.0", "5.2.21153")
    call = 'compiler.compile_in_child(compiler.Unit("oneshot.hip", "gfx950"))'
    error = catch_error(call, opt_rocm=tmp_path, STAND_IN_COMPILE_CRASH="6")
    library = tmp_path / "lib" / "libhiprtc.so"
    assert error.startswith(f"hiprtc ({library}), compiling oneshot.hip for gfx950, died with SIGABRT")
    assert error.endswith(REMEDIES["compiler died"])
