"""Versions of what is installed, read from files and package metadata: nothing is imported or loaded."""

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
"""Where ROCm is where nothing else is said."""


@dataclass(frozen=True)
class Package:
    """An installed Python package. build: what it was built for, 'ROCm 7.2', 'CUDA 12.8', 'CPU', or ''.

    lacks: what it does not have of what is called of it, '' where nothing is missing.
    """

    name: str
    version: str
    folder: str
    build: str = ""
    lacks: str = ""


def hip_python_package() -> Package | None:
    """hip-python, or since release 10 the package of bindings that it is a front for.

    pip leaves the bindings of 10 behind when an older hip-python is installed over it: then that one counts.
    """
    for distribution, module in (("hip-python", "hip"), ("rocm-bindings-hip", "rocm")):
        version, folder = _version((distribution,)), package_folder(module)
        is_front = distribution == "hip-python" and version and int(version.partition(".")[0]) >= 10
        if version and folder and not is_front:
            return Package(distribution, version, str(folder))
    return None


def torch_package() -> Package | None:
    """torch and what it was built for, by its version.py."""
    folder = package_folder("torch")
    if folder is None or not (folder / "version.py").exists():
        return None
    words = _constants(folder / "version.py")
    version = words.get("__version__") or _version(("torch",)) or "of unknown version"
    return Package("torch", version, str(folder), _torch_build(words, version))


AITER_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "moe_sorting_opus_get_workspace_size": (),
    "moe_sorting_opus_fwd": ("workspace",),
}
"""What is called of AITER, with the arguments that versions which are too old do not have."""


def aiter_package() -> Package | None:
    """Return AITER, whose import would compile and load its kernels; None where `aiter` is only a folder's name."""
    folder = package_folder("aiter")
    if folder is None or not (folder / "__init__.py").is_file():
        return None
    return Package("aiter", _version(("amd-aiter", "aiter")) or "unknown", str(folder), lacks=_aiter_lacks(folder))


def _aiter_lacks(folder: Path) -> str:
    """Return what AITER's sources lack of what is called, in words, or ''."""
    arguments_of = dict(_functions(folder, "moe_sorting_opus"))
    for name, needed in AITER_CALLS.items():
        if name not in arguments_of:
            return name
        for argument in needed:
            if argument not in arguments_of[name]:
                return f"the argument {argument} of {name}"
    return ""


def _functions(folder: Path, module: str) -> Iterator[tuple[str, list[str]]]:
    """Yield functions and their arguments: of the module of that name in `folder`, of all modules where it is gone."""
    files = list(folder.rglob(f"{module}.py")) or list(folder.rglob("*.py"))
    for file in files:
        for node in ast.walk(_parsed(file, module)):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                yield node.name, [arg.arg for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _parsed(file: Path, word: str = "") -> ast.Module:
    """Return a Python file's tree, an empty one if it cannot be read or does not hold `word`."""
    try:
        text = file.read_text()
        return ast.parse(text if word in text else "")
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _torch_build(words: dict[str, str], version: str) -> str:
    if "hip" in words:
        release = version.partition("+rocm")[2]
        return f"ROCm {release}" if release else f"ROCm (HIP {words['hip'].partition('-')[0]})"
    return f"CUDA {words['cuda']}" if "cuda" in words else "CPU"


def rocm_of_torch() -> str:
    """The ROCm release whose libraries lie in torch's wheel, '7.2'; '' if it does not say."""
    package = torch_package()
    return package.build.removeprefix("ROCm ") if package and package.build.startswith("ROCm ") else ""


def rocm_of_wheels() -> str:
    """Release of the ROCm that is installed as Python wheels; '' without them."""
    return _version(("rocm-sdk-core", "rocm")) or ""


def rocm_of_installation(root: Path) -> str:
    """Release of a ROCm folder like /opt/rocm, '7.2.0'; '' where it does not say."""
    for file in ("version", "version-rocm", "version-dev"):
        try:
            return (root / ".info" / file).read_text(errors="replace").partition("-")[0].strip()
        except OSError:
            continue
    return ""


def rocm_installations() -> Iterable[tuple[str, Path]]:
    """ROCm folders in the order in which they count: (what names it, folder).

    Those of the variables, /opt/rocm, then the releases beside it, /opt/rocm-7.2.0, the newest first.
    """
    for variable in ("ROCM_PATH", "ROCM_HOME"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable])
    releases = loader.files_in(OPT_ROCM.parent, f"{OPT_ROCM.name}-[0-9]*")
    for folder in (OPT_ROCM, *sorted(releases, key=lambda folder: loader.version(folder.name), reverse=True)):
        yield str(folder), folder


def package_folder(name: str) -> Path | None:
    """Folder of an importable top-level package, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return next(map(Path, spec.submodule_search_locations), None) if spec and spec.submodule_search_locations else None


def _version(distributions: Iterable[str]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _constants(file: Path) -> dict[str, str]:
    """The text constants that a Python file assigns at its top: {name: value}; {} if it cannot be read."""
    found = {}
    for statement in _parsed(file).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({target.id: value.value for target in targets if isinstance(target, ast.Name)})
    return found
