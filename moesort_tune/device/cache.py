"""Files that can be made again: libraries and compiled kernels, each stored with a digest of its content.

A broken, truncated or foreign entry reads as absent, so it is made again and never trusted.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock

from moesort_tune.device.remedies import REMEDIES, DeviceError

_DIGEST_BYTES = hashlib.sha256().digest_size


class CacheError(DeviceError):
    """The cache folder cannot be used."""


def cache_folder() -> Path:
    """The cache folder: MOESORT_TUNE_CACHE, else the user's. Created if absent; raises CacheError."""
    folder = Path(os.environ.get("MOESORT_TUNE_CACHE") or platformdirs.user_cache_dir("moesort-tune"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(f"the cache folder {folder} cannot be made", error) from error
    return folder


def cache_key(*parts: str | bytes) -> str:
    """A file name that is different for different `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def read(path: Path) -> bytes | None:
    """The content stored at `path`, or None where there is none that is whole."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content = stored[:-_DIGEST_BYTES]
    whole = len(stored) > _DIGEST_BYTES and _digest(path, content) == stored[-_DIGEST_BYTES:]
    return content if whole else None


def write(path: Path, content: bytes) -> None:
    """Stores `content` so that other processes see all of it or nothing. Raises CacheError.

    The digest stands behind the content: an ELF file stays loadable as it lies.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                file.write(content + _digest(path, content))
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _unusable(f"cannot write {path}", error) from error


def get(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content stored at `path`, else what `make` makes, which is stored; one process at a time makes it.

    Raises CacheError and what `make` raises.
    """
    content = read(path)
    if content is not None:
        return content
    with _locked(path):
        content = read(path)
        if content is None:
            content = make()
            write(path, content)
    return content


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unusable(f"cannot write into {path.parent}", error) from error
    try:
        yield
    finally:
        lock.release()


def _digest(path: Path, content: bytes) -> bytes:
    """Of the content and of where it belongs: an entry under another's name is foreign."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + content).digest()


def _unusable(what: str, error: OSError) -> CacheError:
    return CacheError(f"{what} ({error.strerror})", REMEDIES["cache not writable"])
