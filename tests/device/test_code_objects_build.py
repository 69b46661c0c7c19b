"""Finding a compiler for AMD GPUs, and building with it."""

from pathlib import Path

import pytest

from moesort_tune.device import ahead_of_time, code_objects, installed
from moesort_tune.device.ahead_of_time import OffloadCompilerError
from moesort_tune.device.architectures import AMD_ARCHITECTURES
from moesort_tune.sorting.launches import SOURCES
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision
from tests.offload import find_real_compiler, make_code_object, write_fake_compiler

UPSTREAM = "Debian clang version {}.1.0"
ROCM = "AMD clang version 19.0.0git (https://github.com/RadeonOpenCompute/llvm-project roc-6.4.0)"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a machine without any compiler; its PATH is this folder."""
    monkeypatch.delenv("MOESORT_TUNE_CLANG", raising=False)
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    monkeypatch.setattr(installed, "OPT_ROCM", tmp_path / "opt-rocm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    return tmp_path


def test_named_compiler_is_the_only_one_asked(bare: Path) -> None:
    """Protects --compiler: a better one elsewhere does not matter."""
    write_fake_compiler(bare / "rocm/bin", "amdclang++", version=ROCM)
    named = write_fake_compiler(bare, "own-clang++", version=UPSTREAM.format(18))
    assert ahead_of_time.find_compiler(str(named)).path == str(named)


def test_variable_names_the_compiler(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects MOESORT_TUNE_CLANG."""
    named = write_fake_compiler(bare, "own-clang++", version=UPSTREAM.format(21))
    monkeypatch.setenv("MOESORT_TUNE_CLANG", str(named))
    assert ahead_of_time.find_compiler().path == str(named)


def test_named_compiler_that_does_not_run_is_an_error(bare: Path) -> None:
    """Protects against silently taking another compiler than the one asked for."""
    with pytest.raises(OffloadCompilerError, match="missing-clang is not a clang that runs here"):
        ahead_of_time.find_compiler(str(bare / "missing-clang"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("while :; do :; done", "--version did not end in 0.5 s"),
        ("printf '\\351'", "--version does not name clang"),
        ("kill -SEGV $$", "--version died with SIGSEGV"),
    ],
)
def test_named_compiler_that_is_broken_is_reported_by_what_it_does(
    bare: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    """Protects doctor from a compiler that hangs or prints what is no text."""
    monkeypatch.setattr(ahead_of_time, "ANSWER_SECONDS", 0.5)
    (bare / "broken").write_text(f"#!/bin/sh\n{script}\n")
    (bare / "broken").chmod(0o755)
    with pytest.raises(OffloadCompilerError, match=rf"broken is not a clang that runs here \({reason}\)"):
        ahead_of_time.find_compiler(str(bare / "broken"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("while :; do :; done", "did not end in 0.5 s"),
        ("exit 0", "wrote no file"),
        ("kill -SEGV $$", "died with SIGSEGV"),
        ("printf 'caf\\351' >&2; exit 1", "ended with exit status 1: caf\ufffd"),
    ],
)
def test_compiler_that_fails_later_is_reported_by_what_it_does(
    bare: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    """Protects `build` from a traceback, and from waiting for ever."""
    monkeypatch.setattr(ahead_of_time, "COMPILE_SECONDS", 0.5)
    (bare / "broken").write_text(f"#!/bin/sh\n{script}\n")
    (bare / "broken").chmod(0o755)
    broken = ahead_of_time.OffloadCompiler(str(bare / "broken"), UPSTREAM.format(22))
    with pytest.raises(OffloadCompilerError, match=reason):
        ahead_of_time.compile_unit("", (), broken)


def test_rocm_comes_before_upstream(bare: Path) -> None:
    """Protects machines with ROCm: its own compiler makes the code that its runtime knows."""
    write_fake_compiler(bare / "bin", "clang++-22", version=UPSTREAM.format(22))
    rocm = write_fake_compiler(bare / "rocm/bin", "amdclang++", version=ROCM)
    assert ahead_of_time.find_compiler().path == str(rocm)


def test_newest_upstream_clang_is_taken(bare: Path) -> None:
    """Protects the order of releases: 22 is newer than 9."""
    for release in (9, 20, 22, 21):
        write_fake_compiler(bare / "bin", f"clang++-{release}", version=UPSTREAM.format(release))
    assert ahead_of_time.find_compiler().release == 22


def test_old_clang_is_not_enough(bare: Path) -> None:
    """Protects against a clang that does not know gfx950: the error says what to install."""
    write_fake_compiler(bare / "bin", "clang++-19", version=UPSTREAM.format(19))
    write_fake_compiler(bare / "bin", "clang++", version=UPSTREAM.format(14))
    with pytest.raises(OffloadCompilerError, match="install ROCm, or clang 20 or newer with lld"):
        ahead_of_time.find_compiler()


def test_clang_without_linker_is_not_enough(bare: Path) -> None:
    """Protects against a clang whose ld.lld is not installed: it would fail at the end of the build."""
    compiler = write_fake_compiler(bare / "bin", "clang++-22", version=UPSTREAM.format(22))
    compiler.write_text(compiler.read_text().replace("echo /bin/sh", "echo ld.lld"))
    with pytest.raises(OffloadCompilerError, match="no compiler for AMD GPUs was found"):
        ahead_of_time.find_compiler()


def test_failing_compiler_is_quoted(bare: Path) -> None:
    """Protects against guessing: the error holds the command and the compiler's own words."""
    path = write_fake_compiler(bare, "broken-clang++", version=UPSTREAM.format(22))
    compiler = ahead_of_time.find_compiler(str(path))
    with pytest.raises(
        OffloadCompilerError, match=r"--offload-arch=gfx942 .* ended with exit status 1: error: no such target"
    ):
        ahead_of_time.build("gfx942", KERNEL_FILES, revision="r", compiler=compiler)


def test_manifest_says_what_was_built(bare: Path) -> None:
    """Protects prebuilt objects: revision, compiler, options and content are recorded."""
    code = make_code_object("gfx90a")
    compiler = ahead_of_time.find_compiler(
        str(write_fake_compiler(bare, "clang++", version=UPSTREAM.format(22), output=code))
    )
    built = ahead_of_time.build("gfx90a", KERNEL_FILES, revision="abc", compiler=compiler)
    manifest = built.manifest
    assert (built.code, manifest.arch, manifest.revision) == (code, "gfx90a", "abc")
    assert manifest.compiler == UPSTREAM.format(22)
    assert "--offload-arch=gfx90a" in manifest.options
    assert manifest.sha256 == code_objects.compute_digest(code)


@pytest.mark.offload_clang
@pytest.mark.parametrize("arch", AMD_ARCHITECTURES)
def test_kernels_build_within_their_limits(arch: str) -> None:
    """Protects the product's targets: no spills, no scratch, every kernel that launches name in one object."""
    built = ahead_of_time.build(
        arch, KERNEL_FILES, revision=compute_kernels_revision(arch), compiler=find_real_compiler()
    )
    code_objects.check_resources([built.manifest])
    names = {kernel.name for kernel in built.manifest.kernels}
    assert names == {name for names in SOURCES.values() for name in names}


@pytest.mark.offload_clang
def test_build_is_reproducible() -> None:
    """Protects comparisons of objects: the same sources and compiler give the same bytes."""
    builds = [
        ahead_of_time.build("gfx942", KERNEL_FILES, revision="r", compiler=find_real_compiler()).code for _ in range(2)
    ]
    assert builds[0] == builds[1]
