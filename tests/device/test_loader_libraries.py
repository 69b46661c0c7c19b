"""The choice between copies of a library: versions are numbers, and no compiler is run."""

from pathlib import Path

import pytest

from moesort_tune.device import amd_libraries, installed, loader


def touch(folder: Path, *names: str) -> Path:
    """Create these empty files in the folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_newest_version_is_the_largest_number(tmp_path: Path) -> None:
    """Protects ROCm 10, which sorts before 7 as text; debug symbols and backups are no libraries."""
    touch(tmp_path, "libx.so.7", "libx.so.10.1", "libx.so.10.0.2", "libx.so.9.debug", "libx.so.old", "libxy.so.99")
    names = [path.name for path in loader.list_libraries(tmp_path, "x")]
    assert names == ["libx.so.10.1", "libx.so.10.0.2", "libx.so.7"]


def test_name_without_a_version_comes_first(tmp_path: Path) -> None:
    """Protects an administrator's choice: that name is a link to the version to use."""
    touch(tmp_path, "libx.so.10", "libx.so")
    assert loader.list_libraries(tmp_path, "x")[0].name == "libx.so"


def test_unreadable_or_missing_folder_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects doctor: a folder that may not be read is no reason to end without a report."""
    assert loader.list_libraries(tmp_path / "missing", "x") == []

    def refuse(_folder: Path, _pattern: str) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)
    assert loader.list_libraries(tmp_path, "x") == []


def test_loaders_list_gives_the_newest_without_asking_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects against a gcc that hangs: ctypes.util.find_library runs it for each name that is not listed."""
    touch(tmp_path, "libx.so.7", "libx.so.10")
    lines = "".join(f"\tlibx.so.{n} (libc6,x86-64,AArch64) => {tmp_path}/libx.so.{n}\n" for n in (7, 10))
    (tmp_path / "ldconfig").write_text(f"#!/bin/sh\ncat <<'END'\n2 libs found\n{lines}END\n")
    for name in ("gcc", "cc", "ld"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    for name in ("ldconfig", "gcc", "cc", "ld"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(loader, "_LDCONFIG", str(tmp_path / "ldconfig"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert loader.find_library("x") == str(tmp_path / "libx.so.10")
    assert loader.find_library("absent") is None
    assert not (tmp_path / "run").exists()


def test_libraries_of_the_variable_come_before_the_loaders_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the order of the loader itself."""
    touch(tmp_path / "own", "libc.so.6")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'missing'}:{tmp_path / 'own'}")
    assert loader.find_library("c") == str(tmp_path / "own" / "libc.so.6")


def test_newest_release_is_taken_where_rocm_has_no_plain_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects machines with /opt/rocm-6.4.1 and /opt/rocm-10.0.0 and no link to one of them."""
    for release in ("6.4.1", "10.0.0", "7.2.0"):
        touch(tmp_path / f"rocm-{release}" / "lib", "libamdhip64.so")
    for name in ("ROCM_PATH", "ROCM_HOME", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(installed, "OPT_ROCM", tmp_path / "rocm")
    monkeypatch.setattr(installed, "find_package_folder", lambda _: None)
    first = next(amd_libraries.find_candidates("amdhip64", maps=touch(tmp_path, "maps") / "maps"))
    assert first.path == str(tmp_path / "rocm-10.0.0" / "lib" / "libamdhip64.so")


def test_newest_wheel_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects an update of ROCm's wheels, whose folders carry their version."""
    for release in ("7_9_0", "7_10_0"):
        touch(tmp_path / f"_rocm_sdk_core_{release}" / "lib", "libamdhip64.so.7")
    touch(tmp_path / "rocm_sdk", "__init__.py")
    found = {"rocm_sdk": tmp_path / "rocm_sdk"}
    monkeypatch.setattr(installed, "find_package_folder", found.get)
    first = next(amd_libraries.find_candidates("amdhip64", maps=touch(tmp_path, "maps") / "maps"))
    assert first.path == str(tmp_path / "_rocm_sdk_core_7_10_0" / "lib" / "libamdhip64.so.7")


def test_compiler_is_never_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a start in another user's folder: a bare name is looked up in the current one."""
    touch(tmp_path, "libhiprtc.so", "maps")
    monkeypatch.chdir(tmp_path)
    assert amd_libraries.find_hiprtc("libamdhip64.so", maps=tmp_path / "maps") == "libhiprtc.so"
