"""The script that is run first on a new GPU, run on the host runtime."""

import os
import subprocess
import sys

from tests.runtimes.cuda_process import REPOSITORY


def test_smoke_script_passes_on_the_host() -> None:
    """Time on a GPU machine is short, so the first script to run there must not fail for a reason of its own."""
    answer = subprocess.run(
        [sys.executable, "scripts/gpu_smoke.py", "--runtime", "host"],
        cwd=REPOSITORY,
        env={**os.environ, "MOESORT_HOST_CHECK": "0"},  # its timings would take long otherwise
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1] == "everything works"
