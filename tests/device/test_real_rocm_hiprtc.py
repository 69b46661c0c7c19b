"""The kernels in the hands of a real hiprtc, through hip-python: that of ROCm 5.2.3, as Debian 12 has it."""

from pathlib import Path

import pytest

from moesort_tune.device import code_objects
from moesort_tune.device.elf import CodeObject
from moesort_tune.sorting.revision import KERNEL_FILES
from tests.device import real_rocm

pytestmark = pytest.mark.real_rocm


@pytest.mark.parametrize("file", KERNEL_FILES)
def test_real_hiprtc_compiles_the_kernels(file: str, tmp_path: Path) -> None:
    """Protects run-time compilation: our names must live beside those that hiprtc itself brings, old ones too."""
    assert real_rocm.compile_file(file, "gfx90a", tmp_path / "code") == ""
    code = CodeObject((tmp_path / "code").read_bytes())
    assert code.arch == "gfx90a"
    assert code_objects.find_complaints("gfx90a", code_objects.read_resources(code)) == []


def test_target_that_aborts_hiprtc_is_one_sentence(tmp_path: Path) -> None:
    """Protects the process: this hiprtc aborts on gfx942, which must end only the child."""
    words = real_rocm.compile_file("oneshot.hip", "gfx942", tmp_path / "code")
    assert "compiling oneshot.hip for gfx942, died with SIGABRT" in words
    assert "moesort-tune build --arch" in words
    assert "Traceback" not in words
