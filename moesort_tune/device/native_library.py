"""Build and cache of our own HIP runtimes (hip_kernels/runtimes), by the machine's compiler."""

import functools
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import cache, child
from moesort_tune.device.child import ChildError
from moesort_tune.device.remedies import REMEDIES, DeviceError
from moesort_tune.shipped import get_kernels_folder

BUILD_SECONDS = 300

_ELF = b"\x7fELF"

VERSION_SECONDS = 10
"""Time limit for a compiler to print its version."""


class NativeBuildError(DeviceError):
    """A compiler that was not found or failed."""


@dataclass(frozen=True)
class Compiler:
    """A working compiler. command: with options; version: the line in which it names itself."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Recipe:
    """Build instructions of one runtime's library: its folder's sources, compilers to try, options.

    is_one_unit: the sources are compiled as one translation unit of C++, in a third of the time of one after the other.
    """

    runtime: str
    suffix: str
    environment_variable: str
    compilers: tuple[str, ...]
    options: tuple[str, ...]
    is_one_unit: bool = False

    @property
    def folder(self) -> Path:
        return get_kernels_folder() / "runtimes" / self.runtime


_SHARED = ("-O2", "-fPIC", "-shared", "-pthread", "-Wl,-soname,libamdhip64.so")

RECIPES = {
    "host": Recipe("host", ".cpp", "CXX", ("c++", "g++", "clang++"), ("-std=c++17", *_SHARED), is_one_unit=True),
    "cuda": Recipe("cuda", ".c", "CC", ("cc", "gcc", "clang"), ("-std=c11", *_SHARED)),
}


def get_library(runtime: str) -> Path:
    """Return the path of the built `libamdhip64.so` of runtime 'host' or 'cuda'.

    Raise NativeBuildError, cache.CacheError, trust.UntrustedError.
    """
    recipe = RECIPES[runtime]
    compiler = choose_compiler(recipe)
    path = cache.open_folder() / "runtimes" / f"{runtime}-{_make_key(recipe, compiler)}" / "libamdhip64.so"
    cache.get(path, lambda: _build(recipe, compiler))
    _write_note(recipe, compiler)
    return path


def choose_compiler(recipe: Recipe) -> Compiler:
    """Return the compiler that would build the runtime now, else the one that built the cached runtime.

    A cached library stays in use after its compiler is removed. Raise NativeBuildError where there is neither.
    """
    try:
        return find_compiler(recipe)
    except NativeBuildError:
        former = _read_former_compiler(recipe)
        if former is None:
            raise
        return former


def find_compiler(recipe: Recipe) -> Compiler:
    """Return the environment variable's compiler, else the first that works. Raise NativeBuildError with the reason."""
    chosen = _read_command(recipe)
    refusals = []
    for command in [chosen] if chosen else [(name,) for name in recipe.compilers]:
        answer = _identify(command)
        if isinstance(answer, Compiler):
            return answer
        refusals.append(answer)
    tried = shlex.quote(chosen[0]) if chosen else ", ".join(recipe.compilers)
    broken = "; ".join(filter(None, refusals))
    what = f"no compiler works ({broken})" if broken else f"no compiler was found (tried {child.make_printable(tried)})"
    raise _make_error(recipe, what)


def _read_command(recipe: Recipe) -> tuple[str, ...]:
    """Return the command in the environment variable; () without one."""
    text = os.environ.get(recipe.environment_variable, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        what = f"{recipe.environment_variable}={child.make_printable(text)} is not a command ({error})"
        raise _make_error(recipe, what) from error


def _make_error(recipe: Recipe, why: str) -> NativeBuildError:
    return NativeBuildError(
        f"the {recipe.runtime} runtime is built on first use, and {why}", REMEDIES["no host compiler"]
    )


def _identify(command: tuple[str, ...]) -> Compiler | str:
    """Return the compiler behind `command`, or what is wrong with it, '' where it is absent."""
    path = shutil.which(command[0])
    if path is None:
        return f"{child.make_printable(command[0])} is not a program" if os.path.lexists(command[0]) else ""
    status = Path(path).stat()
    return _ask_version(command, (path, status.st_size, status.st_mtime_ns))


@functools.lru_cache
def _ask_version(command: tuple[str, ...], program: tuple[str, int, int]) -> Compiler | str:  # noqa: ARG001
    """Return the same as _identify. program: key of the cached answer, so that a compiler that hangs does so once."""
    text = child.make_printable(shlex.join([*command, "--version"]))
    try:
        answer = child.run([*command, "--version"], seconds=VERSION_SECONDS)
    except ChildError as error:
        return f"{text} {error}"
    if answer.status != 0:
        return f"{text} {answer.ending}"
    return Compiler(command, child.make_printable(answer.stdout).strip().partition("\n")[0])


def _list_source_parts(recipe: Recipe) -> Iterator[str | bytes]:
    """Yield the texts that distinguish two libraries built by one compiler."""
    yield from recipe.options
    for path in sorted(path for path in recipe.folder.rglob("*") if path.suffix in {recipe.suffix, ".h"}):
        yield from (path.name, path.read_bytes())


def _make_key(recipe: Recipe, compiler: Compiler) -> str:
    return cache.make_key(*compiler.command, compiler.version, *_list_source_parts(recipe))


def _locate_note(recipe: Recipe, command: tuple[str, ...]) -> Path:
    """Return the file that notes which compiler last built these sources by `command`; () means by any."""
    key = cache.make_key(*command, *_list_source_parts(recipe))
    return cache.open_folder() / "runtimes" / f"{recipe.runtime}-{key}.compiler"


def _write_note(recipe: Recipe, compiler: Compiler) -> None:
    """Note that the cache holds the library built by `compiler`, where the cache can be written."""
    note = json.dumps([compiler.command, compiler.version]).encode()
    with suppress(cache.CacheError):
        if cache.read(_locate_note(recipe, compiler.command)) != note:
            for command in (compiler.command, ()):
                cache.write(_locate_note(recipe, command), note)


def _read_former_compiler(recipe: Recipe) -> Compiler | None:
    """Return the compiler that built the cached runtime: by the chosen command, else the first known one."""
    chosen = _read_command(recipe)
    for command in [chosen] if chosen else [*((name,) for name in recipe.compilers), ()]:
        note = cache.read(_locate_note(recipe, command))
        if note is not None:
            words, version = json.loads(note)
            return Compiler(tuple(words), version)
    return None


def _build(recipe: Recipe, compiler: Compiler) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "libamdhip64.so"
        sources = sorted(recipe.folder.glob(f"*{recipe.suffix}"))
        names, text = (["-x", "c++", "-"], _join(sources)) if recipe.is_one_unit else (map(str, sources), b"")
        command = [*compiler.command, *recipe.options, f"-I{recipe.folder}", *names, "-o", str(output), "-ldl"]
        try:
            answer = child.run(command, stdin=text, seconds=BUILD_SECONDS)
        except ChildError as error:
            raise _make_failure(recipe, compiler, str(error)) from error
        if answer.status != 0:
            raise _make_failure(recipe, compiler, answer.ending)
        library = output.read_bytes() if output.is_file() else b""
    if not library.startswith(_ELF):
        raise _make_failure(recipe, compiler, "wrote no shared library")
    return library


def _join(sources: Iterable[Path]) -> bytes:
    """Return the text of one translation unit of all sources."""
    return "".join(f'#include "{path.name}"\n' for path in sources).encode()


def _make_failure(recipe: Recipe, compiler: Compiler, how: str) -> NativeBuildError:
    command = child.make_printable(shlex.join(compiler.command))
    return NativeBuildError(
        f"the {recipe.runtime} runtime could not be built: {command} {how}", REMEDIES["host compiler failed"]
    )
