"""Programs that hang, die or print anything: they end in time, with all their descendants, and with their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moesort_tune.device import child
from moesort_tune.device.child import ChildError
from tests.processes import MARK, find_processes


def write_script(path: Path, text: str) -> str:
    """Write an executable file with this text."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_program_gets_its_input_and_returns_what_it_prints() -> None:
    """Protects the way of sources to a compiler and of code back."""
    ended = child.run(["sh", "-c", "cat; echo words >&2; exit 3"], stdin=b"x" * 200_000, seconds=60)
    assert (ended.status, ended.stdout, ended.words) == (3, b"x" * 200_000, "words")
    assert ended.ending == "ended with exit status 3: words"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("sleep MARK & sleep MARK", "did not end in 0.3 s"),
        ("exec >&- 2>&-; sleep MARK", "did not end in 0.3 s"),
        ("while :; do echo drip; sleep 0.05; done; : MARK", "did not end in 0.3 s"),
        ("sleep MARK & exit 0", "did not end in 0.3 s"),
    ],
    ids=["hangs", "hangs with its streams closed", "prints slowly for ever", "leaves a process that holds its streams"],
)
def test_program_that_does_not_end_is_ended_with_all_it_started(program: str, reason: str) -> None:
    """Protects doctor and sweep from a compiler that hangs, and the machine from what it leaves."""
    with pytest.raises(ChildError, match=reason):
        child.run(["sh", "-c", program.replace("MARK", MARK)], seconds=0.3)
    assert not find_processes(MARK)


def test_program_that_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects this process's memory."""
    monkeypatch.setattr(child, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(ChildError, match="printed more than 1 MiB"):
        child.run(["sh", "-c", "while :; do echo 71717171717171717171717171717171; done"], seconds=60)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("no program", 0o755, "Exec format error"),
        ("#!/nonexistent/sh\n", 0o755, "No such file or directory"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        (None, 0, "No such file or directory"),
    ],
)
def test_file_that_is_no_program_is_reported_by_its_reason(
    tmp_path: Path, text: str | None, mode: int, reason: str
) -> None:
    """Protects against a traceback where a compiler was built for another machine."""
    path = tmp_path / "compiler"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ChildError, match=rf"cannot be run \({reason}\)"):
        child.run([str(path)], seconds=60)


def test_words_are_fit_for_a_terminal() -> None:
    """Protects the terminal from bytes that are no text, and from what it would obey."""
    ended = child.run(["sh", "-c", r"printf 'caf\351 \033[31m\nline' >&2"], seconds=60)
    assert ended.words == "caf\ufffd \ufffd[31m\nline"
    assert child.make_printable("\udcff") == "\ufffd"


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "ended with exit status 0"), (-11, "died with SIGSEGV"), (-42, "died with signal 42")],
)
def test_every_way_to_end_has_a_name(status: int, text: str) -> None:
    """Protects against an error about the error: not every signal has a name."""
    assert child.describe_exit(status) == text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_parent_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Protects the machine where doctor is killed: neither the compiler nor what the compiler started lives on."""
    started = tmp_path / "started"
    compiler = write_script(tmp_path / "hangs", f"#!/bin/sh\nsleep {MARK} &\ntouch {started}\nsleep {MARK}\n")
    inner = f"from moesort_tune.device import child; child.run([{compiler!r}], seconds=600)"
    outer = f"from moesort_tune.device import child; child.run([{sys.executable!r}, '-c', {inner!r}], seconds=600)"
    with subprocess.Popen([sys.executable, "-c", outer], stderr=subprocess.DEVNULL) as process:
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
    assert not find_processes(MARK)
    assert not find_processes(compiler)


def test_group_is_named_to_the_guard_by_the_child_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the moment after a start: a parent that is killed then cannot name the group any more."""
    readable, writable = os.pipe()

    @contextmanager
    def guard() -> Iterator[Callable[[int], object]]:
        yield lambda group: os.write(writable, f"{os.getpid()} {group}".encode())

    monkeypatch.setattr(child, "_start_guard", guard)
    pid = child.run(["sh", "-c", "echo $$"], seconds=60).stdout.split()[0]
    assert os.read(readable, 100).split() == [pid, pid]


def test_child_that_lost_its_parent_ends_itself() -> None:
    """Protects the moment in which a parent dies before its child has tied itself to it."""
    ended = child.run([sys.executable, "-c", "from moesort_tune.device import child; child.tie_to(1)"], seconds=60)
    assert ended.status == -signal.SIGKILL


def test_python_child_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """Protects a run in another user's folder, whose json.py must not be imported."""
    (tmp_path / "json.py").write_text("raise SystemExit('run from the current folder')")
    program = (
        "import sys; sys.path[:] = [path for path in sys.path if path]\n"
        "from moesort_tune.device import child\n"
        "print(child.run(child.build_python_command('moesort_tune.device.compile_worker'), seconds=60).ending)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "JSONDecodeError" in ended.stdout
    assert "current folder" not in ended.stdout


def test_no_process_is_left_after_a_run() -> None:
    """Protects long-lived processes: each run leaves neither a zombie nor its guard."""
    before = list_children()
    child.run(["true"], seconds=60)
    assert list_children() == before


def list_children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
