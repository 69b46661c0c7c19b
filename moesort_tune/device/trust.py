"""Files whose content is run as code: read only where nobody but this user and root could have written it.

The whole path counts, as ssh has it for its keys: whoever may write into a folder can replace all that lies in it. On a
path that passes, nobody else can change anything afterwards either, so what was checked is what is loaded later.
"""

import errno
import os
import pwd
import stat
from pathlib import Path

from moesort_tune.device.remedies import REMEDIES, DeviceError

PRIVATE = 0o700
"""Mode of the folders that are made."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UntrustedError(DeviceError):
    """A file or folder that somebody else owns or may write."""


def resolve(folder: Path) -> Path:
    """Return `folder` without symbolic links. Raise UntrustedError where a link is somebody else's, OSError."""
    absolute = folder.absolute()
    for path in (*reversed(absolute.parents), absolute):
        if path.is_symlink():
            _check_owner(path, path.lstat())
    return absolute.resolve()


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing of the path to it, for this user alone, and check it. Raises OSError."""
    for path in (*reversed(folder.parents), folder):
        if not _is_there(path):
            path.mkdir(PRIVATE, exist_ok=True)
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise UntrustedError if somebody else could change what lies in `folder`, a path without symbolic links.

    From the root downwards: whoever passes can no longer be changed by those who do not. Raises OSError.
    """
    for path in (*reversed(folder.parents), folder):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        # In a sticky folder like /tmp nobody can rename or remove what belongs to others.
        _check(path, status, may_be_shared=path != folder and bool(status.st_mode & stat.S_ISVTX))


def read_file(path: Path) -> bytes:
    """Return the content of the regular file `path`, which lies in a folder that was checked.

    Raises UntrustedError where somebody else owns it or may write it, OSError where it cannot be read or is no file:
    a link, a pipe that would never end.
    """
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        _check(path, status, may_be_shared=False)
        return file.read()


def read_path(path: Path) -> bytes:
    """Return the content of the regular file `path`, having checked its whole path. Raises as read_file does."""
    folder = resolve(path.parent)
    check_folder(folder)
    return read_file(folder / path.name)


def _check(path: Path, status: os.stat_result, *, may_be_shared: bool) -> None:
    _check_owner(path, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not may_be_shared:
        mode = stat.S_IMODE(status.st_mode)
        raise UntrustedError(f"{path} can be written by others (mode {mode:04o})", REMEDIES["not trusted"])


def _check_owner(path: Path, status: os.stat_result) -> None:
    # Whoever owns / can replace everything; in a user namespace that may be nobody.
    if status.st_uid not in {os.geteuid(), 0, Path("/").stat().st_uid}:
        raise UntrustedError(f"{path} belongs to {_user(status.st_uid)}", REMEDIES["not trusted"])


def _user(uid: int) -> str:
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
