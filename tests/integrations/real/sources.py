"""Where the frameworks' sources lie, and which versions these are."""

import ast
import functools
import importlib.util
import os
import subprocess
from pathlib import Path

from tests.opt_in import skip_or_fail

AITER_VARIABLE = "AITER_REPO"
FOLDER_VARIABLE = "MOESORT_TEST_FRAMEWORKS"

AITER_NEEDS = ("einops", "pandas", "psutil", "triton")
"""What AITER imports besides torch; the extra `aiter` of this project."""

LOADER_NEEDS = ("psutil", "regex")
"""What vLLM's plugin loader and start of workers import; the extra `frameworks`."""

LOADERS = {"vllm": "vllm/plugins/__init__.py", "sglang": "sglang/srt/plugins/__init__.py"}
"""File of each framework's plugin loader."""


def find_aiter() -> Path:
    """Return the checkout of AITER; skip the calling test where there is none."""
    named = os.environ.get(AITER_VARIABLE)
    if not named:
        skip_or_fail("real_aiter", f"{AITER_VARIABLE} does not name a checkout of AITER")
    if not (Path(named) / "aiter/fused_moe.py").is_file():
        skip_or_fail("real_aiter", f"{AITER_VARIABLE} is {named}, which has no aiter/fused_moe.py")
    return Path(named).resolve()


def find_importable_aiter() -> Path:
    """Return the checkout of AITER; skip the calling test where something that AITER imports is not installed."""
    checkout = find_aiter()
    missing = [name for name in AITER_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        skip_or_fail("real_aiter", f"AITER imports {', '.join(missing)}; pip install -e '.[aiter]'")
    return checkout


def find_framework(project: str) -> Path:
    """Return the folder from which `project` can be imported; skip the calling test where there is none."""
    suite, named = f"real_{project}", os.environ.get(FOLDER_VARIABLE)
    if not named:
        skip_or_fail(suite, f"{FOLDER_VARIABLE} does not name a folder that scripts/fetch_frameworks.py made")
    folder = Path(named).resolve() / project
    if not (folder / LOADERS[project]).is_file():
        skip_or_fail(suite, f"{FOLDER_VARIABLE} is {named}, which has no {project}/{LOADERS[project]}")
    return folder


def check_importable(project: str) -> None:
    """Skip the calling test where something that the framework's loader imports is not installed."""
    missing = [name for name in LOADER_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        skip_or_fail(f"real_{project}", f"its loader imports {', '.join(missing)}; pip install -e '.[frameworks]'")


@functools.cache
def describe_aiter(checkout: Path) -> str:
    """Return the commit of a checkout, 'commit 1a2b3c'; of a folder without one, its path."""
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%h"]
    above = checkout.parent  # a repository around a plain folder is not AITER's
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(above)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return f"commit {answer.stdout.strip()}" if answer.returncode == 0 else f"no commit, {checkout}"


@functools.cache
def describe_framework(folder: Path) -> str:
    """Return the version that a framework's own file names."""
    tree = ast.parse((folder / folder.name / "_version.py").read_text())
    for node in tree.body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if "__version__" in names and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    return "unknown version"


def read_arguments(file: Path, function: str) -> list[str]:
    """Return the names of a function's arguments."""
    found = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    (arguments,) = [node.args for node in found if node.name == function]
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
