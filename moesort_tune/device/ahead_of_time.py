"""Compiles the kernels for AMD GPUs ahead of time: with ROCm's compiler, or with upstream clang alone."""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moesort_tune.device import child, code_objects, installed, loader
from moesort_tune.device.child import ChildError
from moesort_tune.device.code_objects import Manifest
from moesort_tune.device.compiler import Unit
from moesort_tune.device.elf import CodeObject
from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import kernels_folder

COMPILER_VARIABLE = "MOESORT_TUNE_CLANG"
"""Environment variable that names the compiler."""

MIN_CLANG = 20
"""First upstream clang that knows gfx950."""

COMPILE_SECONDS = 300

ANSWER_SECONDS = 10
"""How long a compiler may take to say its version or where its linker is."""

_OPTIONS = (
    "--offload-device-only",
    "--no-gpu-bundle-output",
    # Neither ROCm's headers nor its device library are needed, so they need not be there.
    "-nogpuinc",
    "-nogpulib",
    # Version 5 is loaded by every ROCm that hip-python 6.2 and newer belong to; newer clangs write 6.
    "-mcode-object-version=5",
    # The default puts a symbol into the object that is a hash of the compiler's command line.
    "-fuse-cuid=none",
)


class OffloadCompilerError(MoesortTuneError):
    """No compiler for AMD GPUs, or it failed."""


@dataclass(frozen=True)
class OffloadCompiler:
    """A compiler that is there. version: the line in which it names itself, 'Debian clang version 22.1.8 ...'."""

    path: str
    version: str

    @property
    def release(self) -> int:
        """Clang's major version; 0 if it does not say."""
        match = re.search(r"clang version (\d+)", self.version)
        return int(match[1]) if match else 0

    @property
    def is_from_rocm(self) -> bool:
        return "AMD clang" in self.version


def find_compiler(explicit: str | None = None) -> OffloadCompiler:
    """The compiler to use: `explicit`, else MOESORT_TUNE_CLANG's, else ROCm's, else the newest upstream clang.

    Raises OffloadCompilerError where the named one does not run or none is found.
    """
    named = explicit or os.environ.get(COMPILER_VARIABLE)
    if named:
        answer = _identify(named)
        if isinstance(answer, OffloadCompiler):
            return answer
        raise OffloadCompilerError(
            f"{child.printable(named)} is not a clang that runs here ({answer}); name another one or none"
        )
    for path in _candidates():
        answer = _identify(path)
        if isinstance(answer, OffloadCompiler) and _is_usable(answer):
            return answer
    raise OffloadCompilerError(
        f"no compiler for AMD GPUs was found; install ROCm, or clang {MIN_CLANG} or newer with lld (Debian and "
        f"Ubuntu: apt-get install clang-{MIN_CLANG} lld-{MIN_CLANG}), or name a compiler in {COMPILER_VARIABLE}"
    )


def _candidates() -> Iterator[str]:
    for _, root in installed.rocm_installations():
        yield from (f"{root}/{name}" for name in ("bin/amdclang++", "lib/llvm/bin/amdclang++", "bin/hipcc"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    found = {path.name for folder in folders for path in loader.files_in(folder, "clang++-*")}
    releases = sorted((int(name[8:]) for name in found if name[8:].isdecimal()), reverse=True)
    yield from ("amdclang++", *(f"clang++-{release}" for release in releases), "clang++")


def _identify(path: str) -> OffloadCompiler | str:
    """The compiler at `path`, or what is wrong with it."""
    resolved = shutil.which(path)
    if resolved is None:
        return "there is no such program"
    try:
        answer = child.run([resolved, "--version"], seconds=ANSWER_SECONDS)
    except ChildError as error:
        return f"asked for its version it {error}"
    if answer.status != 0:
        return f"asked for its version it {answer.ending}"
    lines = [line.strip() for line in child.printable(answer.stdout).splitlines() if "clang version" in line]
    return OffloadCompiler(resolved, lines[0]) if lines else "it does not say that it is one"


def _is_usable(compiler: OffloadCompiler) -> bool:
    """Whether it can be expected to build all targets: ROCm's own can, upstream must be new enough and have lld."""
    if compiler.is_from_rocm:
        return True
    if compiler.release < MIN_CLANG:
        return False
    try:
        linker = child.run([compiler.path, "-print-prog-name=ld.lld"], seconds=ANSWER_SECONDS).stdout
    except ChildError:
        return False
    return shutil.which(os.fsdecode(linker.strip())) is not None


@dataclass(frozen=True)
class Build:
    """A code object and what is known of it."""

    manifest: Manifest
    code: bytes


def build(
    arch: str,
    files: Sequence[str],
    *,
    revision: str,
    compiler: OffloadCompiler,
    extra_options: tuple[str, ...] = (),
) -> Build:
    """Compiles `files` (of the kernels' folder) into one code object. Raises OffloadCompilerError with its words."""
    options = (*target_options(arch), *extra_options)
    code = compile_unit("".join(f'#include "{file}"\n' for file in files), options, compiler)
    manifest = Manifest(
        arch=arch,
        revision=revision,
        compiler=compiler.version,
        options=options,
        sha256=code_objects.digest(code),
        kernels=code_objects.resources(CodeObject(code)),
    )
    return Build(manifest, code)


def target_options(arch: str) -> tuple[str, ...]:
    """Options with which device code for `arch` is compiled."""
    return (*Unit("", arch).options, *_OPTIONS)


def compile_unit(source: str, options: Sequence[str], compiler: OffloadCompiler) -> bytes:
    """The code object of one translation unit, which may include the kernels' files. Raises OffloadCompilerError."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "kernels.co"
        command = [compiler.path, "-x", "hip", *options, f"-I{kernels_folder()}", "-o", str(output), "-"]
        asked = child.printable(shlex.join(command))
        try:
            answer = child.run(command, stdin=source.encode(), seconds=COMPILE_SECONDS)
        except ChildError as error:
            raise OffloadCompilerError(f"{asked} {error}; name another compiler in {COMPILER_VARIABLE}") from error
        if answer.status != 0:
            raise OffloadCompilerError(f"{asked} {answer.ending}")
        if not output.is_file():
            raise OffloadCompilerError(f"{asked} wrote no file; name another compiler in {COMPILER_VARIABLE}")
        return output.read_bytes()
