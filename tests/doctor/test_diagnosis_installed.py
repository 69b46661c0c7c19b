"""Versions of installed packages, read without importing anything."""

import sys
from pathlib import Path

import pytest

from moesort_tune.device import installed
from tests.device import stand_ins


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of packages before the installed ones, in a process that has not imported any of them."""
    for name in ("aiter", "hip", "rocm", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("version", "hip", "build"),
    [
        ("2.9.0+rocm7.2", "7.2.26015-fc0010cf6a", "ROCm 7.2"),
        ("2.9.0a0+git1234", "7.2.26015-fc0010cf6a", "ROCm (HIP 7.2.26015)"),
        ("2.13.0+cpu", None, "CPU"),
    ],
)
def test_torch_is_reported_with_its_build(site: Path, version: str, hip: str | None, build: str) -> None:
    """Protects the question that matters on an AMD machine: which GPU was this torch built for."""
    stand_ins.make_torch_without_libraries(site, version, hip)
    package = installed.find_torch()
    assert package is not None
    assert (package.version, package.build) == (version, build)
    assert "torch" not in sys.modules


def test_cuda_build_is_reported_with_its_cuda(site: Path) -> None:
    """Protects the CUDA builds, whose version.py has the same form."""
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise ImportError('must not be imported')")
    (site / "torch" / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip = None\n")
    package = installed.find_torch()
    assert package is not None
    assert package.build == "CUDA 13.0"


def test_folder_that_is_only_called_torch_is_none(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a project folder of that name, which Python takes for a package where there is no other."""
    monkeypatch.setattr(sys, "path", [str(site)])
    (site / "torch").mkdir()
    (site / "aiter").mkdir()
    assert installed.find_torch() is None
    assert installed.find_aiter() is None


CALLS = """
def moe_sorting_opus_get_workspace_size(tokens, num_experts, topk, dispatch_policy=0): ...
def moe_sorting_opus_fwd(topk_ids, num_local_tokens=None, workspace=None, dispatch_policy=0): ...
"""


@pytest.mark.parametrize(
    ("module", "text", "lacks"),
    [
        ("ops/moe_sorting_opus.py", CALLS, ""),
        ("kernels/sorting.py", f"import moe_sorting_opus{CALLS}", ""),
        (
            "ops/moe_sorting_opus.py",
            CALLS.replace("workspace=None, ", ""),
            "the argument workspace of moe_sorting_opus_fwd",
        ),
        ("ops/moe_sorting_opus.py", CALLS.replace("_get_workspace_size", ""), "moe_sorting_opus_get_workspace_size"),
        ("ops/moe_sorting.py", "def moe_sorting_fwd(): ...", "moe_sorting_opus_get_workspace_size"),
        ("ops/moe_sorting_opus.py", "not Python", "moe_sorting_opus_get_workspace_size"),
    ],
)
def test_aiter_is_reported_by_what_it_lacks(site: Path, module: str, text: str, lacks: str) -> None:
    """Protects a sweep from an AITER without what it calls, wherever it keeps it; nothing of it is imported."""
    (site / "aiter" / module).parent.mkdir(parents=True)
    (site / "aiter" / module).write_text(text)
    (site / "aiter" / "__init__.py").write_text("raise ImportError('must not be imported')")
    package = installed.find_aiter()
    assert package is not None
    assert package.lacks == lacks


def test_hip_python_is_reported_by_its_release() -> None:
    """Protects the version that is compared with ROCm's: of hip-python 7 as of the bindings of 10."""
    package = installed.find_hip_python()
    assert package is not None
    assert int(package.version.partition(".")[0]) in (6, 7, 10)


def test_older_hip_python_over_a_newer_one_counts(site: Path) -> None:
    """Protects `pip install 'hip-python~=7.2.0'`: pip leaves the bindings of release 10 behind it."""
    stand_ins.make_distribution(site, "hip-python", "7.2.2.562.43")
    stand_ins.make_distribution(site, "rocm-bindings-hip", "10.0.0.0.1.2")
    for package in ("hip", "rocm"):
        (site / package).mkdir()
        (site / package / "__init__.py").write_text("")
    assert installed.find_hip_python() == installed.Package("hip-python", "7.2.2.562.43", str(site / "hip"))


def test_front_of_hip_python_10_is_reported_by_its_bindings(site: Path) -> None:
    """Protects release 10, whose hip-python only names the package that is used."""
    stand_ins.make_distribution(site, "hip-python", "10.0.0.0.1.2")
    stand_ins.make_distribution(site, "rocm-bindings-hip", "10.0.1.0.1.2")
    (site / "rocm").mkdir()
    (site / "rocm" / "__init__.py").write_text("")
    assert installed.find_hip_python() == installed.Package("rocm-bindings-hip", "10.0.1.0.1.2", str(site / "rocm"))


def test_rocm_folder_tells_its_release(tmp_path: Path) -> None:
    """Protects /opt/rocm/.info/version, which carries a build number."""
    stand_ins.make_rocm_installation(tmp_path, "7.2.0", "7.2.53211")
    assert installed.find_rocm_of_installation(tmp_path) == "7.2.0"
    assert installed.find_rocm_of_installation(tmp_path / "lib") == ""
