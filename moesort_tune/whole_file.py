"""Atomic replacement of a file; the next writer removes the unfinished file of a killed one."""

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import stat
from pathlib import Path

from moesort_tune.regular_files import NotRegularError


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` completely or not at all, keeping the access rights of an existing file.

    Raise OSError, NotRegularError where the name belongs to a device, a FIFO or a socket: those are not replaced.
    """
    mode = _read_mode(path)
    _remove_leftovers(path)
    with _create_new(path) as file:
        new = Path(file.name)
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                new.chmod(mode)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def _read_mode(path: Path) -> int | None:
    """Return the access rights of the file, None where there is none. Raise OSError if it is not a regular file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise NotRegularError(errno.EINVAL, "it is not a regular file", str(path))
    return stat.S_IMODE(mode)


def _create_new(path: Path) -> io.BufferedWriter:
    """Create a file beside `path`, locked while open, which distinguishes it from a killed writer's file."""
    while True:
        file = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new").open("xb")
        with contextlib.suppress(OSError):  # without locks, leftovers are not removed either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else it was removed before it was locked
            return file
        file.close()


def _remove_leftovers(path: Path) -> None:
    """Delete unfinished new versions of `path` that no living writer holds."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new")
    with contextlib.suppress(OSError):  # a folder may be writable but not listable
        for found in filter(lambda found: name.fullmatch(found.name), path.parent.iterdir()):
            with contextlib.suppress(OSError):
                _remove_unless_held(found)


def _remove_unless_held(leftover: Path) -> None:
    handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink()
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
