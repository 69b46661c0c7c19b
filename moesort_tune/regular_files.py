"""Opening a file that must be regular: a FIFO or a device in its place neither hangs nor is read for ever."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class NotRegularError(OSError):
    """Something else stands under the name: a folder, a FIFO, a device or a socket."""


class _File(io.FileIO):
    """A file that would have to be waited for raises BlockingIOError, where FileIO returns None instead of data.

    Some count as regular and are none, like /proc/kmsg, or a file of a FUSE file system.
    """

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into `buffer` and return how many bytes."""
        count: int | None = super().readinto(buffer)
        return _there(count)

    def readall(self) -> bytes:
        """Return the rest of the file."""
        return _there(super().readall())


_Read = TypeVar("_Read")


def _there(read: _Read | None) -> _Read:
    if read is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return read


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read bytes, without ever waiting for whoever may hold it.

    Raises OSError for all that can go wrong, NotRegularError and a name that no file can have among it; `strerror`
    says what.
    """
    try:
        return io.BufferedReader(_File(path, "rb", opener=_open_regular))
    except ValueError as error:
        raise _not_a_name(path, error) from error


def open_regular_to_append(path: Path) -> io.BufferedRandom:
    """Open a regular file to read bytes and to append, and make it where there is none; otherwise as open_regular."""
    try:
        return io.BufferedRandom(_File(path, "a+b", opener=_open_regular))
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
