"""Files that can be made again: libraries and compiled kernels, each stored with a digest of its content.

A broken, truncated or foreign entry reads as absent, so it is made again and never trusted.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs

from moesort_tune.errors import MoesortTuneError

_DIGEST_BYTES = hashlib.sha256().digest_size


class CacheError(MoesortTuneError):
    """The cache folder cannot be used."""


def cache_folder() -> Path:
    """The cache folder: MOESORT_TUNE_CACHE, else the user's. Created if absent; raises CacheError."""
    folder = Path(os.environ.get("MOESORT_TUNE_CACHE") or platformdirs.user_cache_dir("moesort-tune"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"the cache folder {folder} cannot be made ({error.strerror}); set MOESORT_TUNE_CACHE to a writable one"
        ) from error
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
    whole = len(stored) > _DIGEST_BYTES and hashlib.sha256(content).digest() == stored[-_DIGEST_BYTES:]
    return content if whole else None


def write(path: Path, content: bytes) -> None:
    """Stores `content` so that other processes see all of it or nothing. Raises CacheError.

    The digest stands behind the content: an ELF file stays loadable as it lies.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(content + hashlib.sha256(content).digest())
        Path(temporary).replace(path)
    except OSError as error:
        raise CacheError(
            f"cannot write {path} ({error.strerror}); make room or set MOESORT_TUNE_CACHE to another folder"
        ) from error
