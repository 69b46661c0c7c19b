"""Trust in executed files: a cache into which another user can put a library is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.device import cache, code_objects, trust
from moesort_tune.device.cache import CacheError
from moesort_tune.device.remedies import REMEDIES
from moesort_tune.device.trust import UntrustedError
from tests.offload import make_code_object

ANOTHER = 54321
"""A user who is neither root nor the one who runs the tests."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder that does not exist yet, two levels below one that does."""
    path = tmp_path / "made" / "cache"
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(path))
    return path


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `path` another user's; where only root may, make it look so."""
    if os.geteuid() == 0:
        os.chown(path, ANOTHER, ANOTHER, follow_symlinks=False)
        return
    number = path.lstat().st_ino

    def another(status: os.stat_result) -> os.stat_result:
        return os.stat_result((*status[:4], ANOTHER, *status[5:])) if status.st_ino == number else status

    lstat, fstat = Path.lstat, os.fstat
    monkeypatch.setattr(Path, "lstat", lambda path: another(lstat(path)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: another(fstat(descriptor)))


def store_entry() -> Path:
    """Return a new entry in the cache."""
    path = cache.open_folder() / "code" / "entry"
    cache.write(path, b"code")
    return path


def catch_refusal(*, path: Path) -> str:
    """Return the error with which the entry at `path` is refused."""
    with pytest.raises(UntrustedError) as raised:
        cache.get(path, lambda: pytest.fail("it was made again"))
    return str(raised.value)


def test_folders_are_made_for_their_user_alone(folder: Path) -> None:
    """Protects what will be stored, whatever the umask is; folders that were there keep their mode."""
    before = os.umask(0)
    try:
        path = store_entry()
    finally:
        os.umask(before)
    for made in (folder.parent, folder, path.parent):
        assert made.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702, 0o1777])
def test_folder_that_others_may_write_is_refused(folder: Path, mode: int) -> None:
    """Protects root from a library that another user put into a shared folder, sticky or not."""
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(UntrustedError) as raised:
        cache.open_folder()
    assert str(raised.value) == f"{folder} can be written by others (mode {mode:04o}); {REMEDIES['not trusted']}"


@pytest.mark.parametrize("level", ["folder", "parent", "below"])
def test_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """Protects against a user who created the folder first or can replace it."""
    path = store_entry()
    owned = {"folder": folder, "parent": folder.parent, "below": path.parent}[level]
    give_away(owned, monkeypatch)
    assert catch_refusal(path=path).startswith(f"{owned} belongs to another user (")


@pytest.mark.parametrize(("mode", "is_fine"), [(0o777, False), (0o775, False), (0o1777, True), (0o755, True)])
def test_folder_above_may_be_shared_only_where_it_is_sticky(folder: Path, mode: int, is_fine: bool) -> None:
    """Protects the usual cache below /tmp, and refuses one whose folder others can rename."""
    path = store_entry()
    folder.parent.chmod(mode)
    if is_fine:
        assert cache.read(path) == b"code"
    else:
        assert catch_refusal(path=path).startswith(f"{folder.parent} can be written by others")


def test_entry_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against what was planted while the folder was open to others; its digest is right."""
    path = store_entry()
    give_away(path, monkeypatch)
    assert folder in path.parents
    assert catch_refusal(path=path).startswith(f"{path} belongs to another user (")


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_entry_that_others_may_write_is_refused(folder: Path, mode: int) -> None:
    """Protects against a change between the check and the use."""
    path = store_entry()
    path.chmod(mode)
    assert folder in path.parents
    assert catch_refusal(path=path).startswith(f"{path} can be written by others (mode {mode:04o})")


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link"])
def test_entry_that_is_no_file_is_made_again(folder: Path, kind: str) -> None:
    """Protects against a pipe, which would be read for ever, and a link to what was not checked."""
    path = store_entry()
    other = folder / "other"
    path.rename(other)
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        path.symlink_to(other if kind == "link" else folder / "nowhere")
    assert cache.get(path, lambda: b"made again") == b"made again"
    assert not path.is_symlink()
    assert path.is_file()


def test_folder_in_an_entrys_place_is_one_sentence(folder: Path) -> None:
    """Protects against a traceback about what cannot be replaced."""
    path = cache.open_folder() / "entry"
    path.mkdir()
    assert folder in path.parents
    with pytest.raises(CacheError, match=r"cannot write .*entry \(Is a directory\)"):
        cache.get(path, lambda: b"code")


def test_own_link_to_a_folder_is_followed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a cache that was moved to another disk: what is used is its real path, which was checked."""
    (tmp_path / "disk").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "link" / "cache"))
    assert cache.open_folder() == (tmp_path / "disk" / "cache").resolve()
    assert not folder.exists()


def test_link_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a name in /tmp that another user turned into a link, wherever it leads."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    give_away(tmp_path / "link", monkeypatch)
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "link" / "cache"))
    with pytest.raises(UntrustedError, match="link belongs to another user"):
        cache.open_folder()
    assert not (tmp_path / "target").exists()


def test_links_in_a_circle_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a traceback, or a wait, where a link leads to itself."""
    (tmp_path / "link").symlink_to(tmp_path / "link")
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "link" / "cache"))
    with pytest.raises(CacheError, match="cannot be created"):
        cache.open_folder()


def test_entries_of_root_and_of_the_owner_of_the_root_folder_are_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a cache that an image brings and its user reads."""
    path = store_entry()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if folder.stat().st_uid in {0, Path("/").stat().st_uid}:
        assert cache.read(path) == b"code"
    else:
        assert "belongs to another user" in catch_refusal(path=path)


def test_read_only_cache_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects read-only images: what is there is used, and nothing is written or locked."""
    path = store_entry()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(cache, "FileLock", refuse)
    assert cache.open_folder() == folder
    assert cache.get(path, lambda: pytest.fail("it was made again")) == b"code"


def test_lock_that_nobody_gives_back_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a start from waiting for ever for a process that was stopped."""
    monkeypatch.setattr(cache, "LOCK_SECONDS", 0.1)
    path = cache.open_folder() / "entry"
    assert folder in path.parents
    with cache._lock(path), pytest.raises(CacheError, match=r"another process has held .*entry\.lock for 0\.1 s"):
        cache.get(path, lambda: b"code")


def test_library_in_a_shared_folder_is_never_run(tmp_path: Path) -> None:
    """Protects the whole way: a sweep by root with its cache in a folder of all users ends in one sentence."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    command = [
        sys.executable,
        "-m",
        "moesort_tune.cli.main",
        "sweep",
        "--arch",
        "host",
        "--experts",
        "8",
        "--topk",
        "2",
    ]
    environment = {**os.environ, "MOESORT_TUNE_CACHE": str(shared)}
    options = ["--out", str(tmp_path / "host.yaml")]
    ended = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    sentence = f"Error: {shared} can be written by others (mode 0777); {REMEDIES['not trusted']}"
    assert ended.stderr.splitlines()[-1] == sentence
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("fault", ["shared folder", "shared file", "foreign file", "fifo"])
def test_prebuilt_code_that_others_may_write_is_refused_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Protects the GPU from code of another user in the folder that MOESORT_TUNE_CODE_OBJECTS names."""
    code = make_code_object()
    manifest = code_objects.Manifest("gfx942", "r", "clang", (), code_objects.compute_digest(code), ())
    code_objects.write(tmp_path / "codes", manifest, code)
    monkeypatch.setenv("MOESORT_TUNE_CODE_OBJECTS", str(tmp_path / "codes"))
    assert code_objects.find_prebuilt("gfx942", "r") == code
    path = tmp_path / "codes" / "gfx942.co"
    if fault == "shared folder":
        path.parent.chmod(0o777)
    elif fault == "shared file":
        path.chmod(0o666)
    elif fault == "foreign file":
        give_away(path, monkeypatch)
    else:
        path.unlink()
        os.mkfifo(path)
    assert code_objects.find_prebuilt("gfx942", "r") is None
    assert "is not used" in caplog.text


def test_unreadable_path_is_reported_by_its_own_error(tmp_path: Path) -> None:
    """Protects the reader of trust.read_path: what is not there is not called untrusted."""
    with pytest.raises(FileNotFoundError):
        trust.read_path(tmp_path / "missing")
