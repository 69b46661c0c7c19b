"""Frameworks that load no plugins: a file of site-packages steers AITER in every process of an environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.integrations import startup
from tests.integrations.conftest import STAND_IN, MakeTable, StandIn
from tests.tables import examples

PROGRAM = """
import multiprocessing, sys
import torch
from aiter.fused_moe import fused_moe  # by name and at the top, as ATOM does

def sort():
    ids = torch.arange(120, dtype=torch.int32).reshape(30, 4)
    fused_moe(ids, torch.ones(30, 4), 128)
    integration = sys.modules.get("moesort_tune.integrations.aiter")
    print(dict(integration.counts()) if integration else "not steered", flush=True)

if __name__ == "__main__":
    sort()
    worker = multiprocessing.get_context("spawn").Process(target=sort)
    worker.start()
    worker.join()
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return the Python of an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return tmp_path / "venv" / "bin" / "python"


def run(python: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, which finds this package and the stand-in by PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOESORT_TUNE_T")}
    environment |= {
        "PYTHONPATH": ":".join([str(STAND_IN), *sys.path]),
        "MOESORT_TUNE_RUNTIME": "host",
        "MOESORT_HOST_CHECK": "0",
    }
    command: list[str | Path] = [python, *arguments]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)


def manage(python: Path, command: str) -> str:
    """Run `python -m moesort_tune.integrations`, and return what it prints."""
    done = run(python, "-m", "moesort_tune.integrations", command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_process_is_steered_until_it_is_switched_off(
    stand_in: StandIn, make_table: MakeTable, python: Path, tmp_path: Path
) -> None:
    """Protects ATOM's users: one command and one variable steer the server and its workers; off is the default."""
    del stand_in
    program = tmp_path / "atom.py"
    program.write_text(PROGRAM)
    table = str(make_table(examples.row(128, 4, switch=21)))
    done = run(python, program, MOESORT_TUNE_TABLE=table)
    assert done.stdout == "not steered\nnot steered\n", done.stderr
    assert "from now on" in manage(python, "install")
    assert manage(python, "status").splitlines()[0].endswith(": installed")
    done = run(python, program, MOESORT_TUNE_TABLE=table)
    assert done.stdout == "{'exact row': 1}\n" * 2, done.stderr
    assert run(python, program).stdout == "not steered\nnot steered\n"
    assert "removed" in manage(python, "uninstall")
    assert "nothing to remove" in manage(python, "uninstall")
    code = "import sys; print('moesort_tune' in sys.modules)"
    assert run(python, "-c", code, MOESORT_TUNE_TABLE=table).stdout == "False\n"


def test_other_programs_are_not_slowed_down_or_disturbed(python: Path) -> None:
    """Protects everything else in the environment: no module is loaded, and a missing package is no traceback."""
    manage(python, "install")
    code = "import sys; print([name for name in ('torch', 'msgspec', 'moesort_tune') if name in sys.modules])"
    plain = run(python, "-c", code)
    assert (plain.stdout, plain.stderr) == ("[]\n", "")
    steered = run(python, "-c", code, MOESORT_TUNE_TABLE="/t.yaml")
    assert (steered.stdout, steered.stderr) == ("['moesort_tune']\n", "")
    gone = subprocess.run(
        [python, "-c", "print('fine')"],
        env={"MOESORT_TUNE_TABLE": "/t.yaml"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (gone.stdout, gone.stderr) == ("fine\n", "")


def test_file_of_somebody_else_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a file that happens to have the name."""
    monkeypatch.setattr(startup, "get_path", lambda: tmp_path / startup.NAME)
    (tmp_path / startup.NAME).write_text("/somewhere/else\n")
    for action in (startup.install, startup.uninstall, startup.is_installed):
        with pytest.raises(startup.StartupError, match="is not from this package"):
            action()


def test_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects users of a system Python, who need other rights."""
    monkeypatch.setattr(startup, "get_path", lambda: tmp_path / "missing" / startup.NAME)
    with pytest.raises(startup.StartupError, match=r"cannot write .*missing"):
        startup.install()


def test_file_that_is_read_twice_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects virtual environments, whose Python reads the file twice: every import would pass two hooks of ours."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = len(sys.meta_path)
    startup.wait_for_aiter.cache_clear()
    startup.wait_for_aiter()
    startup.wait_for_aiter()
    startup.wait_for_aiter.cache_clear()
    assert len(sys.meta_path) == before + 1
