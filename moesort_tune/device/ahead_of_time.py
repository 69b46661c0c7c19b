"""Ahead-of-time compilation of the kernels for AMD GPUs, with ROCm's compiler or with upstream clang alone."""

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
from moesort_tune.device.sources import SORTING_FORM, Form
from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import get_kernels_folder

COMPILER_VARIABLE = "MOESORT_TUNE_CLANG"
"""Environment variable that names the compiler."""

MIN_CLANG = 20
"""First upstream clang that supports gfx950."""

COMPILE_SECONDS = 300

ANSWER_SECONDS = 10
"""Time limit for a compiler to print its version or the path of its linker."""

_OPTIONS = (
    "--offload-device-only",
    "--no-gpu-bundle-output",
    # The kernels need neither ROCm's headers nor its device library.
    "-nogpuinc",
    "-nogpulib",
    # Every ROCm that matches hip-python 6.2 or newer loads version 5; newer clangs write 6 by default.
    "-mcode-object-version=5",
    # By default the object contains a symbol that hashes the compiler's command line.
    "-fuse-cuid=none",
)


class OffloadCompilerError(MoesortTuneError):
    """A compiler for AMD GPUs that was not found or failed."""


@dataclass(frozen=True)
class OffloadCompiler:
    """An installed compiler. version: the line in which it names itself, 'Debian clang version 22.1.8 ...'."""

    path: str
    version: str

    @property
    def release(self) -> int:
        """Major version of clang, 0 if the version line lacks it."""
        match = re.search(r"clang version (\d+)", self.version)
        return int(match[1]) if match else 0

    @property
    def is_from_rocm(self) -> bool:
        return "AMD clang" in self.version


def find_compiler(explicit: str | None = None) -> OffloadCompiler:
    """Return the first of: `explicit`, MOESORT_TUNE_CLANG's compiler, ROCm's, the newest upstream clang.

    Raise OffloadCompilerError where the named compiler does not run or none is found.
    """
    named = explicit or os.environ.get(COMPILER_VARIABLE)
    if named:
        answer = _identify(named)
        if isinstance(answer, OffloadCompiler):
            return answer
        raise OffloadCompilerError(
            f"{child.make_printable(named)} is not a clang that runs here ({answer}); choose another or omit it"
        )
    for path in _list_candidates():
        answer = _identify(path)
        if isinstance(answer, OffloadCompiler) and _is_usable(answer):
            return answer
    raise OffloadCompilerError(
        f"no compiler for AMD GPUs was found; install ROCm, or clang {MIN_CLANG} or newer with lld (Debian and "
        f"Ubuntu: apt-get install clang-{MIN_CLANG} lld-{MIN_CLANG}), or name a compiler in {COMPILER_VARIABLE}"
    )


def _list_candidates() -> Iterator[str]:
    """Yield the commands to try: ROCm's compilers first, then those of PATH, the newest first."""
    for _, root in installed.list_rocm_installations():
        yield from (f"{root}/{name}" for name in ("bin/amdclang++", "lib/llvm/bin/amdclang++", "bin/hipcc"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    found = {path.name for folder in folders for path in loader.list_files(folder, "clang++-*")}
    releases = sorted((int(name[8:]) for name in found if name[8:].isdecimal()), reverse=True)
    yield from ("amdclang++", *(f"clang++-{release}" for release in releases), "clang++")


def _identify(path: str) -> OffloadCompiler | str:
    """Return the compiler at `path`, or the reason why it does not serve."""
    resolved = shutil.which(path)
    if resolved is None:
        return "there is no such program"
    try:
        answer = child.run([resolved, "--version"], seconds=ANSWER_SECONDS)
    except ChildError as error:
        return f"--version {error}"
    if answer.status != 0:
        return f"--version {answer.ending}"
    lines = [line.strip() for line in child.make_printable(answer.stdout).splitlines() if "clang version" in line]
    return OffloadCompiler(resolved, lines[0]) if lines else "--version does not name clang"


def _is_usable(compiler: OffloadCompiler) -> bool:
    """Return whether it can build all targets: ROCm's own can; upstream clang must be new enough and have lld."""
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
    """A code object and its manifest."""

    manifest: Manifest
    code: bytes


def build(
    arch: str,
    files: Sequence[str],
    *,
    revision: str,
    compiler: OffloadCompiler,
    form: Form = SORTING_FORM,
    extra_options: tuple[str, ...] = (),
) -> Build:
    """Compile one form of `files` (of the kernels' folder) into one code object.

    Raise OffloadCompilerError with the compiler's message.
    """
    options = (*list_target_options(arch, form), *extra_options)
    code = compile_unit("".join(f'#include "{file}"\n' for file in files), options, compiler)
    manifest = Manifest(
        arch=arch,
        revision=revision,
        compiler=compiler.version,
        options=options,
        sha256=code_objects.compute_digest(code),
        kernels=code_objects.read_resources(CodeObject(code)),
        form=form.name,
    )
    return Build(manifest, code)


def list_target_options(arch: str, form: Form = SORTING_FORM) -> tuple[str, ...]:
    """Return the options that compile device code of a form for `arch`."""
    return (*Unit("", arch, form.definition).options, *_OPTIONS)


def compile_unit(source: str, options: Sequence[str], compiler: OffloadCompiler) -> bytes:
    """Return the code object of one translation unit, which may include the kernels' files.

    Raise OffloadCompilerError.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "kernels.co"
        command = [compiler.path, "-x", "hip", *options, f"-I{get_kernels_folder()}", "-o", str(output), "-"]
        text = child.make_printable(shlex.join(command))
        try:
            answer = child.run(command, stdin=source.encode(), seconds=COMPILE_SECONDS)
        except ChildError as error:
            raise OffloadCompilerError(f"{text} {error}; name another compiler in {COMPILER_VARIABLE}") from error
        if answer.status != 0:
            raise OffloadCompilerError(f"{text} {answer.ending}")
        if not output.is_file():
            raise OffloadCompilerError(f"{text} wrote no file; name another compiler in {COMPILER_VARIABLE}")
        return output.read_bytes()
