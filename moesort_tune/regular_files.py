"""Opening of files that must be regular: a FIFO or a device under the name neither blocks nor is read for ever."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class NotRegularError(OSError):
    """A name of something else than a file: a folder, a FIFO, a device or a socket."""


class _File(io.FileIO):
    """A file that raises BlockingIOError where a read would block; FileIO returns None instead of data.

    Some files count as regular and block all the same, like /proc/kmsg, or a file of a FUSE file system.
    """

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into `buffer` and return the number of bytes."""
        count: int | None = super().readinto(buffer)
        return _require_data(count)

    def readall(self) -> bytes:
        """Return the rest of the file."""
        return _require_data(super().readall())


_Read = TypeVar("_Read")


def _require_data(read: _Read | None) -> _Read:
    if read is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return read


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading bytes, without waiting for another process that holds it.

    Raise OSError for every failure, including NotRegularError and an impossible file name; `strerror` gives the reason.
    """
    try:
        return io.BufferedReader(_File(path, "rb", opener=_open_regular))
    except ValueError as error:
        raise _make_name_error(path, error) from error


def open_regular_to_append(path: Path) -> io.BufferedRandom:
    """Open a regular file to read bytes and to append, creating it if absent; otherwise as open_regular."""
    try:
        return io.BufferedRandom(_File(path, "a+b", opener=_open_regular))
    except ValueError as error:
        raise _make_name_error(path, error) from error


def _open_regular(path: str, flags: int) -> int:
    """Open for `open`: check the descriptor itself, so that the file cannot be swapped in between."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(errno.EINVAL, "it is not a regular file", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make_name_error(path: Path, error: ValueError) -> OSError:
    """Return `open`'s ValueError for a NUL or an unencodable name as the OSError that callers expect."""
    return OSError(errno.EINVAL, f"no file can have this name ({error})", str(path))
