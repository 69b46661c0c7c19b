"""Child processes that may hang, crash or print anything: compilers, and Python processes that load a driver.

Each runs in its own session, under a deadline. All its descendants end with it, and it ends with this process, however
that ends.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from moesort_tune.errors import MoesortTuneError

MAX_OUTPUT_BYTES = 64 << 20
"""Output limit: a program that prints more is assumed to print without end."""

MAX_WORDS = 4000
"""Characters of a program's standard error that an error quotes."""

_PR_SET_PDEATHSIG = 1

_GUARD = "import os, sys; group = sys.stdin.read(); group and os.killpg(int(group), 9)"
"""Program that waits for a pipe to close, as it does when its writer ends, then kills the process group read from it.

A signal on the parent's death (PR_SET_PDEATHSIG) would miss a compiler's children, and follows the thread.
"""


class ChildError(MoesortTuneError):
    """A program that could not be started or had to be killed. The text says which: 'did not end in 10 s'."""


@dataclass(frozen=True)
class Ended:
    """A finished program. status: its exit status, or the signal that killed it as a negative number."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """Its standard error, fit for a terminal; only the beginning where it is long."""
        text = make_printable(self.stderr).strip()
        return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]} ..."

    @property
    def ending(self) -> str:
        """Its end, with its message: 'ended with exit status 1: no such header', 'died with SIGSEGV'."""
        return describe_exit(self.status) + (f": {self.words}" if self.words else "")


def run(command: Sequence[str], *, seconds: float, stdin: bytes = b"") -> Ended:
    """Run `command` to its end and return its output.

    Raise ChildError where it cannot be started, does not end within `seconds`, or prints without end.
    """
    deadline = time.monotonic() + seconds
    with _start_guard() as watch, _start(command, stdin, watch) as process:
        try:
            stdout, stderr = _read(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ChildError(f"did not end in {seconds:g} s") from None
    return Ended(status, stdout, stderr)


def build_python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module` as a program in a Python like this one.

    It imports from this process's search path: `python -m` would also import from the current folder, which may be
    untrusted.
    """
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from moesort_tune.device import child; child.tie_to({os.getpid()}); "
        f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", program, *arguments]


def tie_to(parent: int) -> None:
    """End this process with its parent, the process `parent`, even in a call that never returns."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def describe_exit(status: int) -> str:
    """Return 'died with SIGSEGV' for -11, 'ended with exit status 1' for 1."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"died with {signal.Signals(-status).name}"
    except ValueError:
        return f"died with signal {-status}"


def make_printable(text: bytes | str) -> str:
    """Return `text` with control characters (except newlines and tabs) and undecodable bytes replaced by U+FFFD."""
    if isinstance(text, str):
        text = text.encode(errors="surrogateescape")
    characters = text.decode(errors="replace")
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in characters)


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """Return all output until the process closes both streams. Raise ChildError, TimeoutError."""
    printed = {_get_pipe(process.stdout).fileno(): bytearray(), _get_pipe(process.stderr).fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in printed:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                block = os.read(key.fd, 1 << 16)
                if not block:
                    selector.unregister(key.fd)
                printed[key.fd] += block
                if len(printed[key.fd]) > MAX_OUTPUT_BYTES:
                    raise ChildError(f"printed more than {MAX_OUTPUT_BYTES >> 20} MiB")
    stdout, stderr = printed.values()
    return bytes(stdout), bytes(stderr)


@contextmanager
def _start(command: Sequence[str], stdin: bytes, watch: Callable[[int], object]) -> Iterator[subprocess.Popen[bytes]]:
    """Start `command` in its own session, and kill the whole session at the end of `with`. Raise ChildError.

    watch: called with the new group by the child itself, before it becomes `command`. If this process passed the group,
    the group would outlive a parent that is killed in between.
    """
    source = os.memfd_create("stdin")
    try:
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: watch(os.getpid()),  # noqa: PLW1509 - two system calls, which need no lock
        )
    except (OSError, ValueError) as error:
        raise ChildError(f"cannot be run ({getattr(error, 'strerror', None) or error})") from error
    finally:
        os.close(source)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        _end(process)


@contextmanager
def _start_guard() -> Iterator[Callable[[int], object]]:
    """Yield a function that names a process group to kill when this process ends, until the end of `with`."""
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    )
    pipe = _get_pipe(guard.stdin)
    try:
        yield lambda group: pipe.write(str(group).encode())
    finally:
        _end(guard)


def _get_pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Return the stream of a process that was started with a pipe for it."""
    if stream is None:
        raise ValueError("expected a process with pipes for its streams, got one without")
    return stream


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
        stream.close()
