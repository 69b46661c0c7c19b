"""Files that can be made again: libraries and compiled kernels, each stored with a digest of its content.

A broken, truncated or foreign entry reads as absent, so it is made again and never trusted. A path on which somebody
else may write is refused: what is stored there is run (see trust.py).
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from moesort_tune.device import trust
from moesort_tune.device.remedies import REMEDIES, DeviceError

_DIGEST_BYTES = hashlib.sha256().digest_size

LOCK_SECONDS = 900
"""How long another process may take to make an entry; longer than any of its compilers."""


class CacheError(DeviceError):
    """The cache folder cannot be used."""


def cache_folder() -> Path:
    """The cache folder: MOESORT_TUNE_CACHE, else the user's. Created if absent.

    Raises CacheError, and trust.UntrustedError for one that others may write.
    """
    named = Path(os.environ.get("MOESORT_TUNE_CACHE") or platformdirs.user_cache_dir("moesort-tune"))
    return _made(named, f"the cache folder {named} cannot be made")


def cache_key(*parts: str | bytes) -> str:
    """A file name that is different for different `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def read(path: Path) -> bytes | None:
    """The content stored at `path`, or None where there is none that is whole. Raises trust.UntrustedError."""
    try:
        trust.check_folder(path.parent)
        stored = trust.read_file(path)
    except OSError:
        return None
    content = stored[:-_DIGEST_BYTES]
    whole = len(stored) > _DIGEST_BYTES and _digest(path, content) == stored[-_DIGEST_BYTES:]
    return content if whole else None


def write(path: Path, content: bytes) -> None:
    """Stores `content` so that other processes see all of it or nothing. Raises CacheError, trust.UntrustedError.

    The digest stands behind the content: an ELF file stays loadable as it lies.
    """
    _made(path.parent, f"cannot write {path}")
    try:
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

    Raises CacheError, trust.UntrustedError and what `make` raises.
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
    _made(path.parent, f"cannot write into {path.parent}")
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        what = f"another process has held {path}.lock for {LOCK_SECONDS} s"
        raise CacheError(what, REMEDIES["cache locked"]) from error
    except OSError as error:
        raise _unusable(f"cannot write into {path.parent}", error) from error
    try:
        yield
    finally:
        lock.release()


def _made(folder: Path, otherwise: str) -> Path:
    """The folder without symbolic links, there and trusted. otherwise: what the CacheError says."""
    try:
        resolved = trust.resolve(folder)
        trust.make_folder(resolved)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise _unusable(otherwise, error) from error
    return resolved


def _digest(path: Path, content: bytes) -> bytes:
    """Of the content and of where it belongs: an entry under another's name is foreign."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + content).digest()


def _unusable(what: str, error: OSError | RuntimeError) -> CacheError:
    return CacheError(f"{what} ({getattr(error, 'strerror', None) or error})", REMEDIES["cache not writable"])
