"""The cache: entries are whole and in their place, or they are made again."""

from pathlib import Path

import pytest

from moesort_tune.device import cache
from moesort_tune.device.cache import CacheError
from moesort_tune.device.remedies import REMEDIES


def test_entry_is_made_once(tmp_path: Path) -> None:
    """Protects the compile time of every start but the first."""
    made: list[int] = []

    def maker() -> bytes:
        made.append(1)
        return b"code"

    assert [cache.get(tmp_path / "a" / "entry", maker) for _ in range(3)] == [b"code"] * 3
    assert made == [1]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    """Protects against running half a kernel after a full disk or a broken copy."""
    path = tmp_path / "entry"
    cache.write(path, b"old code")
    stored = path.read_bytes()
    path.write_bytes({"cut": stored[:-1], "changed": b"X" + stored[1:], "empty": b""}[damage])
    assert cache.get(path, lambda: b"new code") == b"new code"
    assert cache.read(path) == b"new code"


def test_entry_of_another_name_is_made_again(tmp_path: Path) -> None:
    """Protects against a foreign entry: whole, but copied from another target's place."""
    cache.write(tmp_path / "gfx942-oneshot", b"for gfx942")
    (tmp_path / "gfx950-oneshot").write_bytes((tmp_path / "gfx942-oneshot").read_bytes())
    assert cache.get(tmp_path / "gfx950-oneshot", lambda: b"for gfx950") == b"for gfx950"


def test_content_lies_at_the_beginning_of_its_file(tmp_path: Path) -> None:
    """Protects shared libraries, which the loader opens as they lie in the cache."""
    cache.write(tmp_path / "entry", b"\x7fELF and more")
    assert (tmp_path / "entry").read_bytes().startswith(b"\x7fELF and more")


def test_failed_maker_leaves_nothing_behind(tmp_path: Path) -> None:
    """Protects the next start: a compile error is not an entry, and its lock is free."""
    with pytest.raises(ZeroDivisionError):
        cache.get(tmp_path / "entry", lambda: bytes(1 // 0))
    assert cache.get(tmp_path / "entry", lambda: b"code") == b"code"


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects read-only machines: which folder, why, and what to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOESORT_TUNE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError) as raised:
        cache.open_folder()
    folder = tmp_path / "file" / "cache"
    assert str(raised.value) == (
        f"the cache folder {folder} cannot be created (Not a directory); {REMEDIES['cache not writable']}"
    )


def test_entry_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a full disk: no half an entry and no temporary file stays."""

    def full(_source: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CacheError, match=r"cannot write .*entry \(No space left on device\); free space there"):
        cache.write(tmp_path / "entry", b"code")
    assert list(tmp_path.iterdir()) == []


def test_key_tells_apart_what_is_joined_differently() -> None:
    """Protects against two different sources with one key."""
    assert cache.make_key("ab", "c") != cache.make_key("a", "bc")
    assert cache.make_key("ab", b"c") == cache.make_key(b"ab", "c")
