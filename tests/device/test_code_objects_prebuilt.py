"""Which prebuilt code object is used, and which are left alone."""

import logging
from pathlib import Path

import pytest

from moesort_tune.device import ahead_of_time, code_objects, compiler
from moesort_tune.device.code_objects import Manifest
from moesort_tune.device.elf import CodeObject, CodeObjectError
from moesort_tune.device.sources import ALIGN_FORMS, SORTING_FORM, Form
from moesort_tune.sorting.align_kernels import AlignKernels
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.sorting.launches import SOURCES
from moesort_tune.sorting.revision import KERNEL_FILES, compute_align_revision, compute_kernels_revision
from tests.isa.device import EmulatedDevice
from tests.offload import find_real_compiler, make_code_object


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that MOESORT_TUNE_CODE_OBJECTS names."""
    monkeypatch.setenv("MOESORT_TUNE_CODE_OBJECTS", str(tmp_path))
    return tmp_path


def store(folder: Path, code: bytes, *, arch: str = "gfx942", revision: str = "new", form: str = "") -> None:
    manifest = Manifest(
        arch=arch,
        revision=revision,
        compiler="clang version 22",
        options=("-O3",),
        sha256=code_objects.compute_digest(code),
        kernels=code_objects.read_resources(CodeObject(code)),
        form=form,
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


def test_prebuilt_of_each_form_is_found_by_its_own_name(folder: Path) -> None:
    """Protects deployments without a compiler: no form hides another one, and none stands in for another one."""
    store(folder, make_code_object())
    assert code_objects.find_prebuilt("gfx942", "new", ALIGN_FORMS[32]) is None
    store(folder, make_code_object(kernel="aligned"), form="align32")
    assert code_objects.find_prebuilt("gfx942", "new", ALIGN_FORMS[32]) == make_code_object(kernel="aligned")
    assert code_objects.find_prebuilt("gfx942", "new", ALIGN_FORMS[64]) is None
    assert code_objects.find_prebuilt("gfx942", "new") == make_code_object()


def test_prebuilt_renamed_to_another_form_is_refused_aloud(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Protects from kernels that take ids of 64 bits for ids of 32: their revision is the same."""
    store(folder, make_code_object(), form="align64")
    for suffix in ("co", "json"):
        (folder / f"gfx942-align64.{suffix}").rename(folder / f"gfx942-align32.{suffix}")
    with caplog.at_level(logging.WARNING):
        assert code_objects.find_prebuilt("gfx942", "new", ALIGN_FORMS[32]) is None
    assert "it holds the form align64, not align32" in caplog.text


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
@pytest.mark.parametrize("form", [SORTING_FORM, *ALIGN_FORMS.values()], ids=lambda form: form.name or "sorting")
def test_prebuilt_comes_before_hiprtc(folder: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    """Protects machines whose hiprtc is missing or too old: with the object of the form present, it is not run."""
    revision = (compute_align_revision if form.name else compute_kernels_revision)("gfx950")
    built = ahead_of_time.build("gfx950", KERNEL_FILES, revision=revision, compiler=find_real_compiler(), form=form)
    code_objects.write(folder, built.manifest, built.code)
    monkeypatch.setattr(compiler, "get_code", lambda unit: pytest.fail(f"hiprtc was run for {unit.file}"))
    device = EmulatedDevice("gfx950", compute_units=256)
    if not form.name:
        assert SortingKernels(device).revision == built.manifest.revision
        return
    kernels = AlignKernels(device)
    assert kernels.revision == built.manifest.revision
    assert set(kernels.load(int(form.name[-2:]))) == {name for names in SOURCES.values() for name in names}
