"""Failures in the middle of the work, injected into the host runtime: one sentence, with what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moesort_tune.device.remedies import REMEDIES, Symptom

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
    assert answer.stderr.splitlines()[-1] == f"Error: {error}; {REMEDIES[symptom]}"
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
