"""Replaces a file as a whole; what a killed writer left half written is removed by the next one."""

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
    """Writes `data` to `path` whole or not at all, with the access rights that a file there has.

    Raises OSError, NotRegularError for a name that a device, a FIFO or a socket has: they are not replaced.
    """
    mode = _mode_of_file(path)
    _remove_leftovers(path)
    with _new_file(path) as file:
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


def _mode_of_file(path: Path) -> int | None:
    """Return the access rights of the file, None where there is none. Raise OSError for what is no file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise NotRegularError(errno.EINVAL, "it is not a regular file", str(path))
    return stat.S_IMODE(mode)


def _new_file(path: Path) -> io.BufferedWriter:
    """A new file beside `path`, locked while it is open, which tells it from one whose writer was killed."""
    while True:
        file = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new").open("xb")
        with contextlib.suppress(OSError):  # without locks nobody removes it either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else it was removed before it was locked
            return file
        file.close()


def _remove_leftovers(path: Path) -> None:
    """Deletes unfinished new versions of `path` that no living writer holds."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new")
    with contextlib.suppress(OSError):  # a folder that may be written and not listed
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
    """Makes the new name last through a power failure, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
