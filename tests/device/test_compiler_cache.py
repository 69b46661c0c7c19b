"""Run-time compilation: once for what is compiled by what, in a process of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from moesort_tune.device import compiler, libraries, sources
from moesort_tune.device.compiler import Unit
from moesort_tune.device.libraries import RuntimeLibraries

UNIT = Unit("oneshot.hip", "gfx942")


class Compiler:
    """Counts what hiprtc would have compiled."""

    def __init__(self) -> None:
        self.compiled: list[Unit] = []

    def __call__(self, unit: Unit) -> bytes:
        self.compiled.append(unit)
        return f"code {len(self.compiled)} for {unit.target}".encode()


@pytest.fixture
def hiprtc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the library of a chosen amd runtime, and a cache of its own."""
    path = tmp_path / "libhiprtc.so"
    path.write_text("ROCm 7.2")
    chosen = RuntimeLibraries("amd", str(tmp_path / "libamdhip64.so"), str(path))
    monkeypatch.setattr(libraries, "choose", lambda: chosen)
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def compiled(hiprtc: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:  # noqa: ARG001 - the machine it runs on
    """Stand for hiprtc's process."""
    stand_in = Compiler()
    monkeypatch.setattr(compiler, "compile_in_child", stand_in)
    return stand_in


def test_same_unit_is_compiled_once(compiled: Compiler) -> None:
    """Protects the seconds that compiling takes at every start."""
    assert compiler.get_code(UNIT) == compiler.get_code(UNIT) == b"code 1 for gfx942"
    assert compiled.compiled == [UNIT]


def test_every_target_and_file_has_its_own_code(compiled: Compiler) -> None:
    """Protects machines with two kinds of GPU and one cache."""
    units = [UNIT, replace(UNIT, target="gfx950"), replace(UNIT, file="multiphase.hip")]
    assert len({compiler.get_code(unit) for unit in units}) == 3
    assert compiled.compiled == units


def test_new_compiler_compiles_again(compiled: Compiler, hiprtc: Path) -> None:
    """Protects against code of the ROCm that was there before an update."""
    compiler.get_code(UNIT)
    hiprtc.write_text("ROCm 7.2.1")
    compiler.get_code(UNIT)
    assert len(compiled.compiled) == 2


def test_changed_header_compiles_again(compiled: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects kernel developers: an edited header is compiled."""
    compiler.get_code(UNIT)
    headers = sources.read_headers("gfx942")
    changed = {**headers, min(headers): headers[min(headers)] + b"\n// changed"}
    monkeypatch.setattr(sources, "read_headers", lambda _: changed)
    compiler.get_code(UNIT)
    assert len(compiled.compiled) == 2
