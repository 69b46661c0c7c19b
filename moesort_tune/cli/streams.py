"""The program's standard streams: always open, able to write any character, and failing where output is lost.

Results are the purpose of a command, so a failed write to standard output is an error. A failed write to standard error
is not: a sweep continues when its reader has gone.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from moesort_tune.errors import MoesortTuneError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(MoesortTuneError):
    """A write to standard output failed."""


class ReaderLeftError(OutputError):
    """The reader of standard output has closed it."""


def prepare() -> None:
    """Replace sys.stdout and sys.stderr by such streams, on open descriptors. Call once, before anything else."""
    _open_missing()
    sys.stdout = _open_text_stream(_Results(1, "w", closefd=False), sys.stdout, errors="replace")
    sys.stderr = _open_text_stream(_Remarks(2, "w", closefd=False), sys.stderr, errors="backslashreplace")


@contextlib.contextmanager
def discard_remarks() -> Iterator[None]:
    """Discard what this process writes to standard error meanwhile; an error that ends the context is printed later."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _open_missing() -> None:
    """Open the standard descriptors that the parent closed, so that no other file, nor a child's, takes their number.

    Standard output is opened for reading: writes to it fail, as they do on a closed one.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest number that is free, so the descriptor itself
            os.set_inheritable(opened, True)


def _open_text_stream(raw: io.FileIO, before: TextIO | None, errors: str) -> io.TextIOWrapper:
    """Return a text stream on `raw` with the encoding of `before`, which is None where its descriptor was closed.

    errors: the handling of characters that the encoding lacks.
    """
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


class _Results(io.FileIO):
    """Standard output. The first failed write raises OutputError; later ones, up to the exit's, are discarded."""

    _failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write to the descriptor. Raise ReaderLeftError, OutputError."""
        if self._failed:
            return len(memoryview(data))
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if error.errno == errno.EPIPE:
                raise ReaderLeftError("the reader of standard output has closed it") from error
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error


class _Remarks(io.FileIO):
    """Standard error. Failed writes are discarded."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write to the descriptor and ignore a failure."""
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(memoryview(data))
