"""Which libamdhip64 hip-python really opens, seen from inside a process with stand-ins for AMD's libraries."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.device import stand_ins

USE = """
from moesort_tune.device import amd_libraries, hip, libraries
from moesort_tune.errors import MoesortTuneError

def report():
    version, compiler = hip.get_runtime_version(), hip.get_compiler_version()
    libraries.check_mapped()
    return {"version": version, "compiler": compiler, "mapped": amd_libraries.find_mapped("amdhip64")}

def error_of(function):
    try:
        function()
    except MoesortTuneError as error:
        return str(error)
"""

ROCM, TORCH, WHEELS, OTHER = "7.2.11111", "6.4.22222", "7.13.33333", "7.1.44444"
"""HIP versions that distinguish the stand-ins."""


def observe(before: str = "", after: str = "", **where: Any) -> Any:
    """Return the libraries that a process with these folders uses. before, after: code around the first HIP call."""
    script = f"{before}{USE}\nlibraries.choose('amd')\nhip.get_runtime_version()\n{after}\nprint(json.dumps(report()))"
    return stand_ins.run(script, **where)


def test_rocm_is_found_where_its_packages_put_it(tmp_path: Path) -> None:
    """Protects the plain machine: /opt/rocm, links and all, counts as one library; hiprtc is its own."""
    real = stand_ins.make_rocm_installation(tmp_path, "7.2.0", ROCM)
    assert observe(opt_rocm=tmp_path) == {"version": ROCM, "compiler": "7.2", "mapped": [str(real)]}


@pytest.mark.parametrize("variable", ["ROCM_PATH", "ROCM_HOME"])
def test_named_rocm_comes_before_opt_rocm(tmp_path: Path, variable: str) -> None:
    """Protects machines with several ROCm releases side by side."""
    stand_ins.make_rocm_installation(tmp_path / "opt", "7.2.0", ROCM)
    stand_ins.make_rocm_installation(tmp_path / "named", "7.1.0", OTHER)
    found = observe(opt_rocm=tmp_path / "opt", **{variable: str(tmp_path / "named")})
    assert (found["version"], found["compiler"]) == (OTHER, "7.1")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_torch_and_hip_python_share_torchs_own_library(tmp_path: Path, moment: str) -> None:
    """Protects PyTorch's ROCm wheels, whose copy is the right one even before torch is imported."""
    stand_ins.make_rocm_installation(tmp_path / "opt", "7.2.0", ROCM)
    real = stand_ins.make_torch_wheel(tmp_path / "site", "2.9.0+rocm6.4", TORCH)
    found = observe(**{moment: "import torch\n"}, site=tmp_path / "site", opt_rocm=tmp_path / "opt")
    assert found == {"version": TORCH, "compiler": "6.4", "mapped": [str(real)]}


def test_torch_built_on_the_installed_rocm_shares_it(tmp_path: Path) -> None:
    """Protects ROCm's containers: torch maps the container's library, whatever ROCM_PATH says."""
    real = stand_ins.make_rocm_installation(tmp_path / "rocm-7.2.0", "7.2.0", ROCM)
    stand_ins.make_rocm_installation(tmp_path / "other", "7.1.0", OTHER)
    stand_ins.make_torch_without_libraries(tmp_path / "site", "2.9.0a0", ROCM, maps=real)
    found = observe("import torch\n", site=tmp_path / "site", ROCM_PATH=str(tmp_path / "other"))
    assert found == {"version": ROCM, "compiler": "7.2", "mapped": [str(real)]}


def test_rocm_wheels_are_used_by_their_versioned_names(tmp_path: Path) -> None:
    """Protects TheRock's wheels, which hold libamdhip64.so.7 and no libamdhip64.so."""
    stand_ins.make_rocm_installation(tmp_path / "opt", "7.2.0", ROCM)
    real = stand_ins.make_rocm_wheels(tmp_path / "site", "7.13.0", WHEELS)
    found = observe(site=tmp_path / "site", opt_rocm=tmp_path / "opt")
    assert found == {"version": WHEELS, "compiler": "7.13", "mapped": [str(real)]}


def test_library_in_use_comes_before_everything_else(tmp_path: Path) -> None:
    """Protects a process in which another library chose already: its memory belongs to that copy."""
    other = stand_ins.build_libraries(tmp_path / "elsewhere", OTHER)
    stand_ins.make_torch_wheel(tmp_path / "site", "2.9.0+rocm6.4", TORCH)
    found = observe(f"import ctypes\nctypes.CDLL({str(other)!r})\n", site=tmp_path / "site")
    assert found["mapped"] == [str(other)]


def test_library_is_found_by_the_loaders_path_at_last(tmp_path: Path) -> None:
    """Protects distributions and modules that only set LD_LIBRARY_PATH."""
    stand_ins.build_libraries(tmp_path, OTHER, ".7")
    assert observe(LD_LIBRARY_PATH=str(tmp_path))["version"] == OTHER


def test_compiler_inside_the_hip_library_is_found(tmp_path: Path) -> None:
    """Protects HIP 5's layout, without a libhiprtc.so."""
    stand_ins.build_library(tmp_path / "lib" / "libamdhip64.so", OTHER, "-DWITH_HIPRTC")
    assert observe(opt_rocm=tmp_path)["compiler"] == "7.1"


def test_second_library_is_an_error_with_both_paths(tmp_path: Path) -> None:
    """Protects against two runtimes in one process, each a stranger to the other's memory."""
    rocm = stand_ins.make_rocm_installation(tmp_path / "opt", "7.2.0", ROCM)
    other = stand_ins.build_libraries(tmp_path / "other", OTHER)
    later = f"import ctypes\nctypes.CDLL({str(other)!r})\nprint(json.dumps(error_of(libraries.check_mapped)))"
    script = f"{USE}\nlibraries.choose('amd')\nhip.get_runtime_version()\n{later}"
    error = stand_ins.run(script, opt_rocm=tmp_path / "opt")
    assert "2 HIP runtimes are loaded" in error
    assert f"{rocm}" in error
    assert f"{other}" in error
    assert "so that only one is loaded" in error


def test_choice_after_hip_pythons_first_call_is_an_error(tmp_path: Path) -> None:
    """Protects against believing that a runtime was chosen when hip-python had opened another one."""
    rocm = stand_ins.make_rocm_installation(tmp_path / "opt", "7.2.0", ROCM)
    other = stand_ins.build_libraries(tmp_path / "other", OTHER)
    choice = f"libraries.RuntimeLibraries('host', {str(other)!r}, {str(other)!r})"
    script = f"""{USE}
libraries.choose("amd")
hip.get_runtime_version()
libraries._chosen = None
libraries.adopt({choice})
hip.get_runtime_version()
print(json.dumps(error_of(libraries.check_mapped)))
"""
    error = stand_ins.run(script, opt_rocm=tmp_path / "opt")
    assert error == (
        f"the host runtime ({other}) was chosen in a process that already uses {rocm}; start another process for it"
    )


def test_host_runtime_beside_a_rocm_torch_is_an_error(tmp_path: Path) -> None:
    """Protects a process whose torch has AMD's runtime from a second one under the same name."""
    real = stand_ins.make_torch_wheel(tmp_path / "site", "2.9.0+rocm6.4", TORCH)
    host = stand_ins.build_library(tmp_path / "libamdhip64.so", OTHER, "-DWITH_HIPRTC")
    script = f"""import torch
{USE}
libraries.adopt(libraries.RuntimeLibraries('host', {str(host)!r}, {str(host)!r}))
assert hip.get_runtime_version() == {OTHER!r}
print(json.dumps(error_of(libraries.check_mapped)))
"""
    error = stand_ins.run(script, site=tmp_path / "site")
    assert error == (
        f"the host runtime ({host}) was chosen in a process that already uses {real}; start another process for it"
    )


def test_second_different_choice_is_an_error(tmp_path: Path) -> None:
    """Protects the one choice per process; the same again, or none, keeps it."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", ROCM)
    script = f"""{USE}
first = libraries.choose("amd")
assert libraries.choose("amd") is first
assert libraries.choose() is first
print(json.dumps(error_of(lambda: libraries.choose("host"))))
"""
    error = stand_ins.run(script, opt_rocm=tmp_path, MOESORT_TUNE_RUNTIME="host")
    assert error == (
        f"this process already uses the amd runtime ({tmp_path / 'lib' / 'libamdhip64.so'}); "
        "start another process for host"
    )


def test_library_replaced_under_the_process_is_an_error(tmp_path: Path) -> None:
    """Protects against opening the new file of an updated ROCm beside the old one that is still in use."""
    real = stand_ins.build_libraries(tmp_path / "lib", ROCM)
    shutil.copy(real, tmp_path / "new.so")
    before = f"import ctypes, os\nctypes.CDLL({str(real)!r})\nos.replace({str(tmp_path / 'new.so')!r}, {str(real)!r})\n"
    error = stand_ins.run(f"{before}{USE}\nprint(json.dumps(error_of(lambda: libraries.choose('amd'))))")
    assert error == (
        f"this process uses {real} (deleted), which is no longer there; "
        "ROCm was updated under this process: start it again"
    )
