"""Opening a file that must be regular: a FIFO or a device in its place neither hangs nor is read for ever."""

import errno
import io
import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """Something else stands under the name: a folder, a FIFO, a device or a socket."""


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read bytes, without ever waiting for whoever may hold it.

    Raises OSError for all that can go wrong, NotRegularError and a name that no file can have among it; `strerror`
    says what.
    """
    try:
        return open(path, "rb", opener=_open_regular)
    except ValueError as error:
        raise _not_a_name(path, error) from error


def open_regular_to_append(path: Path) -> io.BufferedRandom:
    """Open a regular file to read bytes and to append, and make it where there is none; otherwise as open_regular."""
    try:
        return open(path, "a+b", opener=_open_regular)
    except ValueError as error:
        raise _not_a_name(path, error) from error


def _open_regular(path: str, flags: int) -> int:
    """An opener for `open`: what was opened is checked, so that nobody can put another file there in between."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(errno.EINVAL, "it is not a regular file", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _not_a_name(path: Path, error: ValueError) -> OSError:
    """The ValueError of `open` for a NUL, or for what file names cannot encode, as the OSError that callers expect."""
    return OSError(errno.EINVAL, f"no file can have this name ({error})", str(path))
