"""Building the runtimes of our own with whatever compiler a machine has."""

from dataclasses import replace
from pathlib import Path

import pytest

from moesort_tune.device import native_library
from moesort_tune.device.native_library import RECIPES, NativeBuildError
from moesort_tune.device.remedies import REMEDIES


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a machine whose PATH is one empty folder, with a cache of its own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    return tmp_path


def write_compiler(folder: Path, name: str, script: str) -> Path:
    """Write a compiler that runs `script`; $output is its output file."""
    path = folder / name
    find_output = 'for word; do [ "$previous" = -o ] && output=$word; previous=$word; done'
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} 1.0" && exit\n{find_output}\n{script}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("runtime", "tried"), [("host", "c++, g++, clang++"), ("cuda", "cc, gcc, clang")])
def test_missing_compiler_says_what_to_install(bare: Path, runtime: str, tried: str) -> None:  # noqa: ARG001
    """Protects the first minute on a fresh machine."""
    with pytest.raises(NativeBuildError) as raised:
        native_library.get_library(runtime)
    assert str(raised.value) == (
        f"the {runtime} runtime is built on first use, and no compiler was found (tried {tried}); "
        f"{REMEDIES['no host compiler']}"
    )


def test_named_compiler_is_used_with_its_words(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects CXX='ccache g++' and compilers that are not on the list."""
    write_compiler(bare, "own", "")
    monkeypatch.setenv("CXX", "own -m64")
    assert native_library.find_compiler(RECIPES["host"]).command == ("own", "-m64")


def test_named_compiler_that_is_missing_is_not_replaced(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a choice: another compiler is not used instead."""
    write_compiler(bare, "g++", "")
    monkeypatch.setenv("CXX", "absent")
    with pytest.raises(NativeBuildError, match=r"tried absent"):
        native_library.find_compiler(RECIPES["host"])


BROKEN = {
    "a quote left open": ('g++ "', r'CXX=g\+\+ " is not a command \(No closing quotation\)'),
    "absent": ("absent", r"no compiler was found \(tried absent\)"),
    "a folder": ("{folder}", r"no compiler works \(.* is not a program\)"),
    "no text": ("{folder}/latin", "latin --version ended with exit status 3: caf\ufffd"),
    "for another machine": ("{folder}/foreign", r"foreign --version cannot be run \(Exec format error\)"),
    "hangs": ("{folder}/hangs", "hangs --version did not end in 0.5 s"),
    "dies": ("{folder}/dies", "dies --version died with SIGSEGV"),
    "hangs later": ("{folder}/hangs-later", "could not be built: .*hangs-later did not end in 0.5 s"),
    "dies later": ("{folder}/dies-later", "could not be built: .*dies-later died with SIGKILL"),
    "writes nothing": ("{folder}/writes-nothing", "could not be built: .*writes-nothing wrote no shared library"),
    "writes junk": ("{folder}/writes-junk", "could not be built: .*writes-junk wrote no shared library"),
}


@pytest.fixture
def broken_compilers(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with compilers, each broken in its own way."""
    for name, text in {
        "latin": "#!/bin/sh\nprintf 'caf\\351' >&2; exit 3\n",
        "foreign": "\x7fELF of another machine",
        "hangs": "#!/bin/sh\nwhile :; do :; done\n",
        "dies": "#!/bin/sh\nkill -SEGV $$\n",
    }.items():
        (bare / name).write_text(text)
        (bare / name).chmod(0o755)
    write_compiler(bare, "hangs-later", "while :; do :; done")
    write_compiler(bare, "dies-later", "kill -KILL $$")
    write_compiler(bare, "writes-nothing", "exit 0")
    write_compiler(bare, "writes-junk", 'echo junk > "$output"')
    monkeypatch.setattr(native_library, "VERSION_SECONDS", 0.5)
    monkeypatch.setattr(native_library, "BUILD_SECONDS", 0.5)
    return bare


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_compiler_is_reported_by_what_it_does(
    broken_compilers: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Protects the error of such a compiler: one sentence with its name, fault and a remedy, and no endless wait."""
    command, reason = BROKEN[fault]
    monkeypatch.setenv("CXX", command.format(folder=broken_compilers))
    with pytest.raises(NativeBuildError, match=reason) as raised:
        native_library.get_library("host")
    assert raised.value.remedy
    assert str(raised.value).isprintable()


def test_broken_compiler_that_nobody_named_is_passed_over(
    broken_compilers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects machines whose c++ is broken and whose g++ is not."""
    (broken_compilers / "c++").symlink_to(broken_compilers / "foreign")
    write_compiler(broken_compilers, "g++", "")
    monkeypatch.setenv("CXX", "")
    assert native_library.find_compiler(RECIPES["host"]).command == ("g++",)


def test_command_that_is_no_text_has_a_key_of_its_own(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects paths in other encodings, whose bytes are part of the key."""
    write_compiler(bare, "own", 'printf "\\177ELF library" > "$output"').rename(bare / "caf\udce9")
    monkeypatch.setenv("CXX", str(bare / "caf\udce9"))
    assert native_library.get_library("host").exists()


@pytest.mark.parametrize("named", ["", "other"])
def test_library_that_was_built_before_needs_no_compiler(
    bare: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Protects images from which the compiler was removed, whether a variable still names it or not."""
    monkeypatch.setenv("CXX", named)
    path = write_compiler(bare, named or "c++", 'printf "\\177ELF library" > "$output"')
    built = native_library.get_library("host")
    path.unlink()
    assert native_library.get_library("host") == built
    monkeypatch.setenv("CXX", "")
    assert native_library.get_library("host") == built


def test_usual_compilers_library_comes_before_the_latest_build(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the kernels in the cache, which belong to the default compiler."""
    usual = write_compiler(bare, "c++", 'printf "\\177ELF library" > "$output"')
    built = native_library.get_library("host")
    write_compiler(bare, "other", 'printf "\\177ELF other" > "$output"')
    monkeypatch.setenv("CXX", "other")
    assert native_library.get_library("host") != built
    usual.unlink()
    monkeypatch.delenv("CXX")
    assert native_library.get_library("host") == built


def test_library_of_another_compiler_does_not_stand_for_the_named_one(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a choice: a named compiler that is missing is an error, whatever the cache holds."""
    write_compiler(bare, "c++", 'printf "\\177ELF library" > "$output"')
    native_library.get_library("host")
    for named in ("absent", 'g++ "'):
        monkeypatch.setenv("CXX", named)
        with pytest.raises(NativeBuildError):
            native_library.get_library("host")


def test_library_of_other_sources_does_not_stand_for_these(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects an update of this package: what was built of its predecessor is not used."""
    path = write_compiler(bare, "c++", 'printf "\\177ELF library" > "$output"')
    native_library.get_library("host")
    path.unlink()
    changed = replace(RECIPES["host"], options=("-O1",))
    monkeypatch.setitem(RECIPES, "host", changed)
    with pytest.raises(NativeBuildError, match="no compiler was found"):
        native_library.get_library("host")


def test_failed_build_is_reported_with_the_compilers_words(bare: Path) -> None:
    """Protects the error's text."""
    write_compiler(bare, "c++", 'echo "error: no such header" >&2; exit 3')
    with pytest.raises(
        NativeBuildError, match=r"could not be built: c\+\+ ended with exit status 3: error: no such header"
    ):
        native_library.get_library("host")


def test_library_is_built_once_and_again_after_damage(bare: Path) -> None:
    """Protects the start of every command, and a cache that was damaged."""
    write_compiler(bare, "c++", f'echo built >> {bare}/log; printf "\\177ELF library" > "$output"')
    first = native_library.get_library("host")
    assert native_library.get_library("host") == first
    assert first.read_bytes().startswith(b"\x7fELF library")
    assert first.name == "libamdhip64.so"
    first.write_bytes(b"damaged")
    assert native_library.get_library("host") == first
    assert (bare / "log").read_text() == "built\nbuilt\n"


def test_other_compiler_builds_another_library(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a library of a compiler that was replaced since."""
    write_compiler(bare, "c++", 'printf "\\177ELF one" > "$output"')
    write_compiler(bare, "other", 'printf "\\177ELF two" > "$output"')
    first = native_library.get_library("host")
    monkeypatch.setenv("CXX", "other")
    assert native_library.get_library("host") != first
