"""Building the runtimes of our own with whatever compiler a machine has."""

from pathlib import Path

import pytest

from moesort_tune.device import native_library
from moesort_tune.device.native_library import RECIPES, NativeBuildError
from moesort_tune.device.remedies import REMEDIES


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH is one empty folder, with a cache of its own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    return tmp_path


def compiler(folder: Path, name: str, script: str) -> Path:
    """A compiler that runs `script`; $output is the file it shall write."""
    path = folder / name
    find_output = 'for word; do [ "$previous" = -o ] && output=$word; previous=$word; done'
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} 1.0" && exit\n{find_output}\n{script}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("runtime", "tried"), [("host", "c++, g++, clang++"), ("cuda", "cc, gcc, clang")])
def test_missing_compiler_says_what_to_install(bare: Path, runtime: str, tried: str) -> None:  # noqa: ARG001
    """Protects the first minute on a fresh machine."""
    with pytest.raises(NativeBuildError) as raised:
        native_library.library(runtime)
    assert str(raised.value) == (
        f"the {runtime} runtime is built on first use, and no compiler was found (tried {tried}); "
        f"{REMEDIES['no host compiler']}"
    )


def test_named_compiler_is_used_with_its_words(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects CXX='ccache g++' and compilers that are not on the list."""
    compiler(bare, "own", "")
    monkeypatch.setenv("CXX", "own -m64")
    assert native_library.find_compiler(RECIPES["host"]) == ("own", "-m64")


def test_named_compiler_that_is_missing_is_not_replaced(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a choice: another compiler is not what was asked for."""
    compiler(bare, "g++", "")
    monkeypatch.setenv("CXX", "absent")
    with pytest.raises(NativeBuildError, match=r"tried absent"):
        native_library.find_compiler(RECIPES["host"])


def test_failed_build_is_told_with_the_compilers_words(bare: Path) -> None:
    """Protects whoever has to read why."""
    compiler(bare, "c++", 'echo "error: no such header" >&2; exit 3')
    with pytest.raises(NativeBuildError, match=r"(?s)c\+\+ .*failed with exit status 3:\nerror: no such header"):
        native_library.library("host")


def test_library_is_built_once_and_again_after_damage(bare: Path) -> None:
    """Protects the start of every command, and a cache that was damaged."""
    compiler(bare, "c++", f'echo built >> {bare}/log; printf library > "$output"')
    first = native_library.library("host")
    assert native_library.library("host") == first
    assert first.read_bytes().startswith(b"library")
    assert first.name == "libamdhip64.so"
    first.write_bytes(b"damaged")
    assert native_library.library("host") == first
    assert (bare / "log").read_text() == "built\nbuilt\n"


def test_other_compiler_builds_another_library(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a library of a compiler that was replaced since."""
    compiler(bare, "c++", 'printf one > "$output"')
    compiler(bare, "other", 'printf two > "$output"')
    first = native_library.library("host")
    monkeypatch.setenv("CXX", "other")
    assert native_library.library("host") != first
