"""Failures in the middle of the work, injected into the host runtime: one sentence, with what to do."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moesort_tune.device import cache
from moesort_tune.device.remedies import REMEDIES, Symptom
from tests.processes import MARK, find_processes

SWEEP = ("sweep", "--arch", "host", "--experts", "8", "--topk", "2", "--tokens", "1:4")


@pytest.mark.parametrize(
    ("failure", "error", "symptom"),
    [
        ("hipMalloc:9:2", "hipMalloc failed with hipErrorOutOfMemory (2)", "out of memory"),
        ("hipGraphLaunch:3:719", "hipGraphLaunch failed with hipErrorLaunchFailure (719)", "launch failed"),
    ],
)
def test_sweep_that_loses_its_device_says_what_to_do(
    tmp_path: Path, failure: str, error: str, symptom: Symptom
) -> None:
    """Protects a long sweep from ending in a traceback, and its reader from having to look the error up."""
    out = tmp_path / "host.yaml"
    answer = subprocess.run(
        [sys.executable, "-m", "moesort_tune.cli.main", *SWEEP, "--out", str(out)],
        env={**os.environ, "MOESORT_HOST_FAIL": failure},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stderr
    assert answer.stderr.splitlines()[-1].startswith(f"Error: {error}; {REMEDIES[symptom]}")
    assert not out.exists()


def test_load_of_another_gpus_code_says_what_to_build(tmp_path: Path) -> None:
    """Protects deployments that carry prebuilt kernels to the wrong machine."""
    program = """
from moesort_tune.device import hip
try:
    hip.open_device("host").load(b"\\x7fELF of an AMD GPU")
except hip.HipError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.startswith("hipModuleLoadData failed with hipErrorInvalidImage (200)")
    assert answer.stdout.strip().endswith(REMEDIES["code for another GPU"])


def run_program(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run moesort-tune in `folder` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "moesort_tune.cli.main", *arguments],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def write_compiler(path: Path, script: str) -> str:
    """Write a compiler that runs `script`."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, 'CXX=g++ " is not a command (No closing quotation)'),
        ("printf 'caf\\351' >&2; exit 3", "ended with exit status 3: caf\ufffd"),
        ('[ "$1" = --version ] && echo 1 && exit; exit 0', "wrote no shared library"),
    ],
    ids=["no command", "no text", "writes nothing"],
)
def test_broken_compiler_is_reported_by_doctor_and_sweep(tmp_path: Path, script: str | None, reason: str) -> None:
    """Protects both ends: the report is made, exit status 0, and a sweep ends in one sentence, exit status 1."""
    command = write_compiler(tmp_path / "broken", script) if script else 'g++ "'
    variables = {"CXX": command, "MOESORT_TUNE_CACHE": str(tmp_path / "cache")}
    report = run_program("doctor", folder=tmp_path, **variables)
    assert report.returncode == 0, report.stderr
    assert any(line.startswith("  host runtime: ") and reason in line for line in report.stdout.splitlines())
    swept = run_program(*SWEEP, "--out", "host.yaml", folder=tmp_path, **variables)
    assert swept.returncode == 1
    assert reason in swept.stderr.splitlines()[-1]
    assert "Traceback" not in swept.stderr + report.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_killed_doctor_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """Protects the machine: neither the process that asks a runtime nor the compiler that it waits for lives on."""
    script = f'[ "$1" = --version ] && echo 1 && exit; echo $PPID > {tmp_path}/worker; sleep {MARK}'
    command = write_compiler(tmp_path / "hangs", script)
    environment = {**os.environ, "CXX": command, "MOESORT_TUNE_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-m", "moesort_tune.cli.main", "doctor"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as doctor:
        while not (tmp_path / "worker").exists() or not (tmp_path / "worker").read_text().endswith("\n"):
            assert doctor.poll() is None
            time.sleep(0.02)
        worker = Path("/proc") / (tmp_path / "worker").read_text().strip()
        assert "device_worker" in (worker / "cmdline").read_text()
        doctor.send_signal(number)
    assert not find_processes(MARK)
    assert not find_processes(command)
    # The compiler was ended after it. Where nobody waits for orphans, its number stays.
    assert not worker.exists() or not (worker / "cmdline").read_text()


def test_cached_runtime_needs_no_compiler(tmp_path: Path) -> None:
    """Protects images without a compiler: cached code is used, and doctor reports it."""
    assert run_program(*SWEEP, "--out", "first.yaml", folder=tmp_path).returncode == 0
    bare = {"PATH": str(tmp_path), "CXX": ""}
    again = run_program(*SWEEP, "--out", "again.yaml", folder=tmp_path, **bare)
    assert again.returncode == 0, again.stderr
    report = run_program("doctor", folder=tmp_path, **bare)
    assert report.returncode == 0, report.stderr
    assert "no compiler was found (tried c++, g++, clang++); what was built before is used" in report.stdout
    assert "To fix" not in report.stdout


def test_doctor_knows_that_everything_was_compiled(tmp_path: Path) -> None:
    """Protects read-only images from a report that something must be written."""
    assert run_program(*SWEEP, "--out", "first.yaml", folder=tmp_path).returncode == 0
    assert '"is_compiled": true' in run_program("doctor", "--json", folder=tmp_path).stdout
    shutil.copytree(cache.open_folder() / "runtimes", tmp_path / "other" / "runtimes")
    fresh = run_program("doctor", "--json", folder=tmp_path, MOESORT_TUNE_CACHE="other").stdout
    assert '"is_compiled": true' not in fresh
