"""The cuda runtime over stand-ins for NVIDIA's libraries, built once a session."""

import subprocess
from pathlib import Path

import pytest

from moesort_tune.device import native_library
from tests.runtimes.cuda_process import CudaProcess

STAND_INS = Path(__file__).parent / "cuda_stand_in"


def build_stand_in(sources: Path, library: Path, *options: str) -> None:
    """Compile the C files of a folder to a shared library."""
    command = native_library.find_compiler(native_library.RECIPES["cuda"]).command
    headers = native_library.RECIPES["cuda"].folder
    files = [str(path) for path in sorted(sources.glob("*.c"))]
    subprocess.run(
        [*command, "-std=c11", "-fPIC", "-shared", f"-I{headers}", *options, *files, "-o", str(library)], check=True
    )


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with libcuda.so.1 (CUDA 13.1) and libnvrtc.so.13 (13.2)."""
    folder = tmp_path_factory.mktemp("stand-ins")
    build_stand_in(STAND_INS / "driver", folder / "libcuda.so.1", "-Wl,-soname,libcuda.so.1")
    build_stand_in(STAND_INS / "nvrtc", folder / "libnvrtc.so.13", "-DNVRTC_MAJOR=13")
    return folder


@pytest.fixture(scope="session")
def cuda(stand_ins: Path) -> CudaProcess:
    """Return processes with an NVIDIA driver and NVRTC, as far as they can tell."""
    return CudaProcess(native_library.get_library("cuda"), stand_ins)


def hide(folder: Path, *libraries: str) -> None:
    """Make processes that look for libraries in `folder` first fail to open these, also where they are installed."""
    for library in libraries:
        (folder / library).write_text("no library")
