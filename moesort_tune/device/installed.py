"""Versions of installed software, read from files and package metadata without importing or loading it."""

import ast
import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from moesort_tune.device import loader

OPT_ROCM = Path("/opt/rocm")
"""Default location of ROCm."""


@dataclass(frozen=True)
class Package:
    """An installed Python package. build: its target, 'ROCm 7.2', 'CUDA 12.8', 'CPU', or ''.

    lacks: the first required function or argument that it does not have, '' where nothing is missing.
    """

    name: str
    version: str
    folder: str
    build: str = ""
    lacks: str = ""


def find_hip_python() -> Package | None:
    """Return hip-python, or since release 10 the bindings package that it is a front for.

    pip leaves the bindings of release 10 installed when an older hip-python replaces it; then the older one counts.
    """
    for distribution, module in (("hip-python", "hip"), ("rocm-bindings-hip", "rocm")):
        version, folder = _find_version((distribution,)), find_package_folder(module)
        is_front = distribution == "hip-python" and version and int(version.partition(".")[0]) >= 10
        if version and folder and not is_front:
            return Package(distribution, version, str(folder))
    return None


def find_torch() -> Package | None:
    """Return torch and its build target, from its version.py."""
    folder = find_package_folder("torch")
    if folder is None or not (folder / "version.py").exists():
        return None
    words = _read_constants(folder / "version.py")
    version = words.get("__version__") or _find_version(("torch",)) or "of unknown version"
    return Package("torch", version, str(folder), _describe_torch_build(words, version))


AITER_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "moe_sorting_opus_get_workspace_size": (),
    "moe_sorting_opus_fwd": ("workspace",),
}
"""Functions of AITER that are called, with the arguments that old versions lack."""


def find_aiter() -> Package | None:
    """Return AITER without importing it, which would compile its kernels; None where `aiter` is only a folder."""
    folder = find_package_folder("aiter")
    if folder is None or not (folder / "__init__.py").is_file():
        return None
    return Package(
        "aiter", _find_version(("amd-aiter", "aiter")) or "unknown", str(folder), lacks=_find_aiter_lack(folder)
    )


def _find_aiter_lack(folder: Path) -> str:
    """Return the first required function or argument that AITER's sources lack, or ''."""
    arguments_of = dict(_list_functions(folder, "moe_sorting_opus"))
    for name, needed in AITER_CALLS.items():
        if name not in arguments_of:
            return name
        for argument in needed:
            if argument not in arguments_of[name]:
                return f"the argument {argument} of {name}"
    return ""


def _list_functions(folder: Path, module: str) -> Iterator[tuple[str, list[str]]]:
    """Yield functions and their arguments: from the module in `folder`, or from all modules if it is absent."""
    files = list(folder.rglob(f"{module}.py")) or list(folder.rglob("*.py"))
    for file in files:
        for node in ast.walk(_parse(file, module)):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                yield node.name, [arg.arg for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _parse(file: Path, word: str = "") -> ast.Module:
    """Return a Python file's syntax tree, an empty one if it cannot be read or does not contain `word`."""
    try:
        text = file.read_text()
        return ast.parse(text if word in text else "")
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _describe_torch_build(words: dict[str, str], version: str) -> str:
    if "hip" in words:
        release = version.partition("+rocm")[2]
        return f"ROCm {release}" if release else f"ROCm (HIP {words['hip'].partition('-')[0]})"
    return f"CUDA {words['cuda']}" if "cuda" in words else "CPU"


def find_rocm_of_torch() -> str:
    """Return the ROCm release whose libraries torch's wheel contains, '7.2'; '' if unknown."""
    package = find_torch()
    return package.build.removeprefix("ROCm ") if package and package.build.startswith("ROCm ") else ""


def find_rocm_of_wheels() -> str:
    """Return the release of the ROCm that is installed as Python wheels; '' without them."""
    return _find_version(("rocm-sdk-core", "rocm")) or ""


def find_rocm_of_installation(root: Path) -> str:
    """Return the release of a ROCm folder like /opt/rocm, '7.2.0'; '' if unknown."""
    for file in ("version", "version-rocm", "version-dev"):
        try:
            return (root / ".info" / file).read_text(errors="replace").partition("-")[0].strip()
        except OSError:
            continue
    return ""


def list_rocm_installations() -> Iterable[tuple[str, Path]]:
    """Yield ROCm folders in order of preference: (origin, folder).

    Those of the variables, then /opt/rocm, then the releases beside it, /opt/rocm-7.2.0, the newest first.
    """
    for variable in ("ROCM_PATH", "ROCM_HOME"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable])
    releases = loader.list_files(OPT_ROCM.parent, f"{OPT_ROCM.name}-[0-9]*")
    for folder in (OPT_ROCM, *sorted(releases, key=lambda folder: loader.parse_version(folder.name), reverse=True)):
        yield str(folder), folder


def find_package_folder(name: str) -> Path | None:
    """Return the folder of an importable top-level package, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return next(map(Path, spec.submodule_search_locations), None) if spec and spec.submodule_search_locations else None


def _find_version(distributions: Iterable[str]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _read_constants(file: Path) -> dict[str, str]:
    """Return the string constants assigned at a Python file's top level, {name: value}; {} if it is unreadable."""
    found = {}
    for statement in _parse(file).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found
