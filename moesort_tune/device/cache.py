"""Cache of reproducible files: libraries and compiled kernels, each stored with a digest of its content.

A broken, truncated or foreign entry reads as absent and is made again. A path on which another user may write is
refused, because stored entries are executed (see trust.py).
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
"""Time limit for another process to make an entry; longer than any of its compilers may take."""


class CacheError(DeviceError):
    """A cache folder that cannot be used."""


def open_folder() -> Path:
    """Return the cache folder: MOESORT_TUNE_CACHE, else the user's. Create it if absent.

    Raise CacheError, and trust.UntrustedError where others may write to it.
    """
    named = Path(os.environ.get("MOESORT_TUNE_CACHE") or platformdirs.user_cache_dir("moesort-tune"))
    return _make_folder(named, f"the cache folder {named} cannot be created")


def make_key(*parts: str | bytes) -> str:
    """Return a file name that is unique to `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def read(path: Path) -> bytes | None:
    """Return the content stored at `path`, or None where there is no intact entry. Raise trust.UntrustedError."""
    try:
        trust.check_folder(path.parent)
        stored = trust.read_file(path)
    except OSError:
        return None
    content = stored[:-_DIGEST_BYTES]
    whole = len(stored) > _DIGEST_BYTES and _compute_digest(path, content) == stored[-_DIGEST_BYTES:]
    return content if whole else None


def write(path: Path, content: bytes) -> None:
    """Store `content` atomically: other processes see all of it or nothing. Raise CacheError, trust.UntrustedError.

    The digest follows the content, so an ELF file stays loadable in place.
    """
    _make_folder(path.parent, f"cannot write {path}")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            try:
                file.write(content + _compute_digest(path, content))
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _make_error(f"cannot write {path}", error) from error


def get(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content stored at `path`, else call `make` and store its result; one process at a time calls it.

    Raise CacheError, trust.UntrustedError and whatever `make` raises.
    """
    content = read(path)
    if content is not None:
        return content
    with _lock(path):
        content = read(path)
        if content is None:
            content = make()
            write(path, content)
    return content


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    _make_folder(path.parent, f"cannot write into {path.parent}")
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        what = f"another process has held {path}.lock for {LOCK_SECONDS} s"
        raise CacheError(what, REMEDIES["cache locked"]) from error
    except OSError as error:
        raise _make_error(f"cannot write into {path.parent}", error) from error
    try:
        yield
    finally:
        lock.release()


def _make_folder(folder: Path, otherwise: str) -> Path:
    """Create the folder and return it without symbolic links, trusted. otherwise: text of the CacheError."""
    try:
        resolved = trust.resolve(folder)
        trust.make_folder(resolved)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise _make_error(otherwise, error) from error
    return resolved


def _compute_digest(path: Path, content: bytes) -> bytes:
    """Return the digest of the content and its location: an entry under another name is foreign."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + content).digest()


def _make_error(what: str, error: OSError | RuntimeError) -> CacheError:
    return CacheError(f"{what} ({getattr(error, 'strerror', None) or error})", REMEDIES["cache not writable"])
