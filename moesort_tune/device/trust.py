"""Files whose content is executed: read only where nobody but this user and root could have written it.

The whole path counts, as for ssh's keys: a user who may write to a folder can replace everything in it. On a path that
passes, no other user can change anything afterwards either, so the checked file is the loaded one.
"""

import errno
import os
import pwd
import stat
from pathlib import Path

from moesort_tune.device.remedies import REMEDIES, DeviceError

PRIVATE = 0o700
"""Mode of created folders."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UntrustedError(DeviceError):
    """A file or folder that another user owns or may write."""


def resolve(folder: Path) -> Path:
    """Return `folder` without symbolic links. Raise UntrustedError where another user owns a link, OSError."""
    absolute = folder.absolute()
    for path in (*reversed(absolute.parents), absolute):
        if path.is_symlink():
            _check_owner(path, path.lstat())
    return absolute.resolve()


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents for this user alone, then check it. Raise OSError, UntrustedError."""
    for path in (*reversed(folder.parents), folder):
        if not _is_there(path):
            path.mkdir(PRIVATE, exist_ok=True)
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise UntrustedError if another user could change the content of `folder`, a path without symbolic links.

    Check from the root downwards: other users cannot change a folder that has passed. Raise OSError.
    """
    for path in (*reversed(folder.parents), folder):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        # In a sticky folder like /tmp nobody can rename or remove others' files.
        _check(path, status, may_be_shared=path != folder and bool(status.st_mode & stat.S_ISVTX))


def read_file(path: Path) -> bytes:
    """Return the content of the regular file `path`, whose folder must have been checked.

    Raise UntrustedError where another user owns it or may write it, OSError where it is unreadable or not a regular
    file: a link, or a pipe that would never end.
    """
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        _check(path, status, may_be_shared=False)
        return file.read()


def read_path(path: Path) -> bytes:
    """Check the whole path and return the content of the regular file `path`. Raise the errors of read_file."""
    folder = resolve(path.parent)
    check_folder(folder)
    return read_file(folder / path.name)


def _check(path: Path, status: os.stat_result, *, may_be_shared: bool) -> None:
    _check_owner(path, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not may_be_shared:
        mode = stat.S_IMODE(status.st_mode)
        raise UntrustedError(f"{path} can be written by others (mode {mode:04o})", REMEDIES["not trusted"])


def _check_owner(path: Path, status: os.stat_result) -> None:
    # The owner of / can replace everything; in a user namespace that may be the user `nobody`.
    if status.st_uid not in {os.geteuid(), 0, Path("/").stat().st_uid}:
        raise UntrustedError(f"{path} belongs to {_describe_user(status.st_uid)}", REMEDIES["not trusted"])


def _describe_user(uid: int) -> str:
    try:
        return f"another user ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"another user ({uid})"


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
