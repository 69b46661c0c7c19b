"""Imitated machines: small libraries in the places where PyTorch, ROCm's wheels and ROCm itself put theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from moesort_tune.shipped import get_kernels_folder

SOURCE = Path(__file__).parent / "stand_in" / "hip.c"

ANSWER_SECONDS = 120

HIDDEN = ("ROCM_PATH", "ROCM_HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "MOESORT_TUNE_RUNTIME")
"""Variables that would lead to a library of this machine."""


def build_library(path: Path, hip: str, *flags: str) -> Path:
    """Build a stand-in at `path` that reports HIP version `hip`, '7.2.53211'."""
    major, minor, patch = map(int, hip.split("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    include = f"-I{get_kernels_folder() / 'runtimes' / 'cuda'}"
    number = f"-DHIP_VERSION={major * 10_000_000 + minor * 100_000 + patch}"
    soname = f"-Wl,-soname,{path.name}"
    subprocess.run(["cc", "-shared", "-fPIC", include, number, soname, *flags, SOURCE, "-o", path], check=True)
    return path


def build_libraries(folder: Path, hip: str, suffix: str = "") -> Path:
    """Build libamdhip64.so and libhiprtc.so, their names with `suffix`, in `folder`; return the first."""
    build_library(folder / f"libhiprtc.so{suffix}", hip, "-DWITH_HIPRTC")
    return build_library(folder / f"libamdhip64.so{suffix}", hip)


def make_rocm_installation(root: Path, release: str, hip: str) -> Path:
    """Make a ROCm as its Debian packages lay it out below /opt/rocm: versioned files and links to them."""
    real = build_libraries(root / "lib", hip, ".7.2.70200")
    for name in ("libamdhip64.so", "libhiprtc.so"):
        (root / "lib" / f"{name}.7").symlink_to(f"{name}.7.2.70200")
        (root / "lib" / name).symlink_to(f"{name}.7")
    _write(root / ".info" / "version", f"{release}-43\n")
    return real


def make_torch_wheel(site: Path, version: str, hip: str) -> Path:
    """Make PyTorch's own ROCm wheel: the libraries in torch/lib, mapped by `import torch`."""
    real = build_libraries(site / "torch" / "lib", hip)
    _write_torch(site, version, hip, f"import ctypes\nctypes.CDLL({str(real)!r})\n")
    return real


def make_torch_without_libraries(site: Path, version: str, hip: str | None, maps: Path | None = None) -> None:
    """Make a torch without HIP: built for the CPU, or for a ROCm whose library `maps` its import maps."""
    _write_torch(site, version, hip, f"import ctypes\nctypes.CDLL({str(maps)!r})\n" if maps else "")


def _write_torch(site: Path, version: str, hip: str | None, source: str) -> None:
    _write(site / "torch" / "__init__.py", source)
    words = f"__version__ = '{version}'\ncuda: Optional[str] = None\nhip: Optional[str] = {hip!r}\n"
    _write(site / "torch" / "version.py", f"from typing import Optional\n{words}")


def make_rocm_wheels(site: Path, release: str, hip: str) -> Path:
    """Make a ROCm as wheels: only versioned files, in a package of its own beside rocm_sdk."""
    _write(site / "rocm_sdk" / "__init__.py", "")
    _write(site / "_rocm_sdk_core" / "__init__.py", "")
    make_distribution(site, "rocm-sdk-core", release)
    return build_libraries(site / "_rocm_sdk_core" / "lib", hip, ".7")


def make_distribution(site: Path, name: str, version: str) -> None:
    """Write pip's record of an installed distribution."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    _write(site / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA", metadata)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(script: str, *, site: Path | None = None, opt_rocm: Path | None = None, **environment: str) -> Any:
    """Run Python in a process of its own, with hip-python, and return what it printed as JSON.

    site: a folder of packages before the installed ones; opt_rocm: what stands for /opt/rocm (by default nothing). The
    loader finds no library by name, whatever this machine has.
    Raises AssertionError with the process's words where it fails.
    """
    prologue = f"""
import json
from pathlib import Path
from moesort_tune.device import installed, loader
installed.OPT_ROCM = Path({str(opt_rocm or "/nonexistent")!r})
loader.find_library = lambda name: None
"""
    answer = subprocess.run(
        [sys.executable, "-c", prologue + script],
        env=clean_environment(site, **environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=ANSWER_SECONDS,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def clean_environment(site: Path | None = None, **environment: str) -> dict[str, str]:
    """Return this process's environment without what would point to another ROCm, and with `environment`."""
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    paths = [str(site) if site else "", kept.pop("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment
