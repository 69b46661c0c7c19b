"""Builds the HIP runtimes of our own (hip_kernels/runtimes) with the machine's compiler, once, and caches them."""

import functools
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import cache, child
from moesort_tune.device.child import ChildError
from moesort_tune.device.remedies import REMEDIES, DeviceError
from moesort_tune.shipped import kernels_folder

BUILD_SECONDS = 300

_ELF = b"\x7fELF"

VERSION_SECONDS = 10
"""How long a compiler may take to say its version."""


class NativeBuildError(DeviceError):
    """No compiler, or it failed."""


@dataclass(frozen=True)
class Compiler:
    """A compiler that works. command: with options; version: the line in which it names itself."""

    command: tuple[str, ...]
    version: str


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
    """Path of the built `libamdhip64.so` of runtime 'host' or 'cuda'.

    Raises NativeBuildError, cache.CacheError, trust.UntrustedError.
    """
    recipe = RECIPES[runtime]
    compiler = building_compiler(recipe)
    path = cache.cache_folder() / "runtimes" / f"{runtime}-{_key(recipe, compiler)}" / "libamdhip64.so"
    cache.get(path, lambda: _build(recipe, compiler))
    _note(recipe, compiler)
    return path


def building_compiler(recipe: Recipe) -> Compiler:
    """The compiler of the runtime: the one that would build it now, else the one that built what is in the cache.

    Where compilers were removed since, what they built is still used. Raises NativeBuildError where there is neither.
    """
    try:
        return find_compiler(recipe)
    except NativeBuildError:
        former = _former_compiler(recipe)
        if former is None:
            raise
        return former


def find_compiler(recipe: Recipe) -> Compiler:
    """The environment variable's compiler, else the first that works. Raises NativeBuildError with what is wrong."""
    chosen = _chosen(recipe)
    refusals = []
    for command in [chosen] if chosen else [(name,) for name in recipe.compilers]:
        answer = _identify(command)
        if isinstance(answer, Compiler):
            return answer
        refusals.append(answer)
    tried = shlex.quote(chosen[0]) if chosen else ", ".join(recipe.compilers)
    broken = "; ".join(filter(None, refusals))
    what = f"no compiler works ({broken})" if broken else f"no compiler was found (tried {child.printable(tried)})"
    raise _unbuildable(recipe, what)


def _chosen(recipe: Recipe) -> tuple[str, ...]:
    """The command in the environment variable; () without one."""
    text = os.environ.get(recipe.environment_variable, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        what = f"{recipe.environment_variable}={child.printable(text)} is not a command ({error})"
        raise _unbuildable(recipe, what) from error


def _unbuildable(recipe: Recipe, why: str) -> NativeBuildError:
    return NativeBuildError(
        f"the {recipe.runtime} runtime is built on first use, and {why}", REMEDIES["no host compiler"]
    )


def _identify(command: tuple[str, ...]) -> Compiler | str:
    """The compiler behind `command`, or what is wrong with it, '' where it is not there."""
    path = shutil.which(command[0])
    if path is None:
        return f"{child.printable(command[0])} is not a program" if os.path.lexists(command[0]) else ""
    status = Path(path).stat()
    return _asked_for_version(command, (path, status.st_size, status.st_mtime_ns))


@functools.lru_cache
def _asked_for_version(command: tuple[str, ...], program: tuple[str, int, int]) -> Compiler | str:  # noqa: ARG001
    """As _identify. program: what the answer is remembered for, so that one that hangs does so once."""
    asked = child.printable(shlex.join([*command, "--version"]))
    try:
        answer = child.run([*command, "--version"], seconds=VERSION_SECONDS)
    except ChildError as error:
        return f"{asked} {error}"
    if answer.status != 0:
        return f"{asked} {answer.ending}"
    return Compiler(command, child.printable(answer.stdout).strip().partition("\n")[0])


def _source_parts(recipe: Recipe) -> Iterator[str | bytes]:
    """What makes two libraries by one compiler different."""
    yield from recipe.options
    for path in sorted(path for path in recipe.folder.rglob("*") if path.suffix in {recipe.suffix, ".h"}):
        yield from (path.name, path.read_bytes())


def _key(recipe: Recipe, compiler: Compiler) -> str:
    return cache.cache_key(*compiler.command, compiler.version, *_source_parts(recipe))


def _note_file(recipe: Recipe, command: tuple[str, ...]) -> Path:
    """Where it is noted which compiler last built the runtime of these sources by `command`; () for by any."""
    key = cache.cache_key(*command, *_source_parts(recipe))
    return cache.cache_folder() / "runtimes" / f"{recipe.runtime}-{key}.compiler"


def _note(recipe: Recipe, compiler: Compiler) -> None:
    """Note that what `compiler` builds is in the cache, where that can be written."""
    note = json.dumps([compiler.command, compiler.version]).encode()
    with suppress(cache.CacheError):
        if cache.read(_note_file(recipe, compiler.command)) != note:
            for command in (compiler.command, ()):
                cache.write(_note_file(recipe, command), note)


def _former_compiler(recipe: Recipe) -> Compiler | None:
    """The compiler that built the runtime when it was there: by the chosen command, else by the first known one."""
    chosen = _chosen(recipe)
    for command in [chosen] if chosen else [*((name,) for name in recipe.compilers), ()]:
        note = cache.read(_note_file(recipe, command))
        if note is not None:
            words, version = json.loads(note)
            return Compiler(tuple(words), version)
    return None


def _build(recipe: Recipe, compiler: Compiler) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "libamdhip64.so"
        sources = map(str, sorted(recipe.folder.glob(f"*{recipe.suffix}")))
        try:
            answer = child.run(
                [*compiler.command, *recipe.options, *sources, "-o", str(output), "-ldl"], seconds=BUILD_SECONDS
            )
        except ChildError as error:
            raise _failed(recipe, compiler, str(error)) from error
        if answer.status != 0:
            raise _failed(recipe, compiler, answer.ending)
        library = output.read_bytes() if output.is_file() else b""
    if not library.startswith(_ELF):
        raise _failed(recipe, compiler, "wrote no shared library")
    return library


def _failed(recipe: Recipe, compiler: Compiler, how: str) -> NativeBuildError:
    command = child.printable(shlex.join(compiler.command))
    return NativeBuildError(
        f"the {recipe.runtime} runtime could not be built: {command} {how}", REMEDIES["host compiler failed"]
    )
