"""Builds the HIP runtimes of our own (hip_kernels/runtimes) with the machine's compiler, once, and caches them."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import cache
from moesort_tune.device.remedies import REMEDIES, DeviceError
from moesort_tune.shipped import kernels_folder

BUILD_SECONDS = 300


class NativeBuildError(DeviceError):
    """No compiler, or it failed."""


@dataclass(frozen=True)
class Recipe:
    """How the library of one runtime is built: its folder's sources, compilers to try, options."""

    runtime: str
    suffix: str
    environment_variable: str
    compilers: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return kernels_folder() / "runtimes" / self.runtime


_SHARED = ("-O2", "-fPIC", "-shared", "-pthread", "-Wl,-soname,libamdhip64.so")

RECIPES = {
    "host": Recipe("host", ".cpp", "CXX", ("c++", "g++", "clang++"), ("-std=c++17", *_SHARED)),
    "cuda": Recipe("cuda", ".c", "CC", ("cc", "gcc", "clang"), ("-std=c11", *_SHARED)),
}


def library(runtime: str) -> Path:
    """Path of the built `libamdhip64.so` of runtime 'host' or 'cuda'. Raises NativeBuildError, CacheError."""
    recipe = RECIPES[runtime]
    compiler = find_compiler(recipe)
    folder = cache.cache_folder() / "runtimes" / f"{runtime}-{_key(recipe, compiler)}"
    path = folder / "libamdhip64.so"
    cache.get(path, lambda: _build(recipe, compiler))
    return path


def find_compiler(recipe: Recipe) -> tuple[str, ...]:
    """Command of the compiler: the environment variable's, else the first that is installed."""
    chosen = shlex.split(os.environ.get(recipe.environment_variable, ""))
    for command in [chosen] if chosen else [[name] for name in recipe.compilers]:
        if shutil.which(command[0]):
            return tuple(command)
    tried = chosen[0] if chosen else ", ".join(recipe.compilers)
    raise NativeBuildError(
        f"the {recipe.runtime} runtime is built on first use, and no compiler was found (tried {tried})",
        REMEDIES["no host compiler"],
    )


def compiler_version(command: tuple[str, ...]) -> str:
    """First line that the compiler prints of itself."""
    answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.partition("\n")[0]


def _sources(recipe: Recipe) -> list[Path]:
    return sorted(recipe.folder.glob(f"*{recipe.suffix}"))


def _key(recipe: Recipe, compiler: tuple[str, ...]) -> str:
    files = sorted(path for path in recipe.folder.rglob("*") if path.suffix in {recipe.suffix, ".h"})
    contents = [part for path in files for part in (path.name, path.read_bytes())]
    return cache.cache_key(*recipe.options, *compiler, compiler_version(compiler), *contents)


def _build(recipe: Recipe, compiler: tuple[str, ...]) -> bytes:
    output = cache.cache_folder() / "runtimes" / f"{recipe.runtime}-build-{os.getpid()}.so"
    command = [*compiler, *recipe.options, *map(str, _sources(recipe)), "-o", str(output), "-ldl"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
        if answer.returncode != 0:
            raise NativeBuildError(
                f"{shlex.join(command)} failed with exit status {answer.returncode}:\n{answer.stderr.strip()}"
            )
        return output.read_bytes()
    finally:
        output.unlink(missing_ok=True)
