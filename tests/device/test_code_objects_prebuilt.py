"""Which prebuilt code object is used, and which are left alone."""

import logging
from pathlib import Path

import pytest

from moesort_tune.device import ahead_of_time, code_objects, compiler
from moesort_tune.device.code_objects import Manifest
from moesort_tune.device.elf import CodeObject, CodeObjectError
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.revision import KERNEL_FILES, compute_kernels_revision
from tests.isa.device import EmulatedDevice
from tests.offload import find_real_compiler, make_code_object


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that MOESORT_TUNE_CODE_OBJECTS names."""
    monkeypatch.setenv("MOESORT_TUNE_CODE_OBJECTS", str(tmp_path))
    return tmp_path


def store(folder: Path, code: bytes, *, arch: str = "gfx942", revision: str = "new") -> None:
    manifest = Manifest(
        arch=arch,
        revision=revision,
        compiler="clang version 22",
        options=("-O3",),
        sha256=code_objects.compute_digest(code),
        kernels=code_objects.read_resources(CodeObject(code)),
    )
    code_objects.write(folder, manifest, code)


def test_prebuilt_of_the_same_revision_is_used(folder: Path) -> None:
    """Protects machines without hiprtc: what `build` wrote is what runs."""
    store(folder, make_code_object())
    assert code_objects.find_prebuilt("gfx942", "new") == make_code_object()


def test_prebuilt_for_another_target_is_not_looked_at(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects folders that hold all targets: a missing gfx950 object is no reason to warn."""
    store(folder, make_code_object())
    assert code_objects.find_prebuilt("gfx950", "new") is None
    assert not caplog.records


def get_warning(caplog: pytest.LogCaptureFixture, arch: str = "gfx942") -> str:
    with caplog.at_level(logging.WARNING):
        assert code_objects.find_prebuilt(arch, "new") is None
    return caplog.text


def test_prebuilt_of_other_sources_is_refused_aloud(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects tables: they must never be measured or used with kernels of another revision."""
    store(folder, make_code_object(), revision="old")
    assert "built from revision old, and these kernels are new" in get_warning(caplog)


def test_prebuilt_that_was_changed_is_refused_aloud(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects against half-copied files: the content must be what the manifest describes."""
    store(folder, make_code_object())
    (folder / "gfx942.co").write_bytes(make_code_object()[:-8])
    assert "its content is not what gfx942.json describes" in get_warning(caplog)


def test_prebuilt_renamed_to_another_target_is_refused_aloud(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects against a gfx942 object under the name of gfx950, which the GPU would refuse to load."""
    store(folder, make_code_object("gfx942"), arch="gfx950")
    assert "it was built for gfx942" in get_warning(caplog, "gfx950")


@pytest.mark.parametrize("manifest", [None, "{}", "not json"])
def test_prebuilt_without_a_manifest_is_refused_aloud(
    folder: Path, caplog: pytest.LogCaptureFixture, manifest: str | None
) -> None:
    """Protects against objects of unknown origin, and names the command that makes a good one."""
    (folder / "gfx942.co").write_bytes(make_code_object())
    if manifest is not None:
        (folder / "gfx942.json").write_text(manifest)
    assert f"moesort-tune build --arch gfx942 --out {folder}" in get_warning(caplog)


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """Protects `build --out` on a path that is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CodeObjectError, match=r"cannot write to .*file"):
        store(tmp_path / "file" / "below", make_code_object())


@pytest.mark.offload_clang
def test_prebuilt_comes_before_hiprtc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects machines whose hiprtc is missing or too old: with the object present, it is not run."""
    built = ahead_of_time.build(
        "gfx950", KERNEL_FILES, revision=compute_kernels_revision("gfx950"), compiler=find_real_compiler()
    )
    code_objects.write(folder, built.manifest, built.code)
    monkeypatch.setattr(compiler, "get_code", lambda unit: pytest.fail(f"hiprtc was run for {unit.file}"))
    assert SortingKernels(EmulatedDevice("gfx950", compute_units=256)).revision == built.manifest.revision
