"""Run one scenario in a process of its own: `python -m tests.integrations.real.child NAME ANSWER ARGUMENTS`.

The tests' own process has a stand-in of AITER's name, and torch's operators can be registered only once.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]

DROPPED = ("AITER_", "SGLANG_", "VLLM_", "ROCM_", "PYTEST_", "MOESORT_TUNE_")
"""Beginnings of variables that a scenario does not inherit."""

TIMEOUT_S = 300


def run_scenario(name: str, folder: Path, **arguments: Any) -> Any:
    """Return what the scenario of this name answers. folder: a new one for its files."""
    answer = folder / "answer.json"
    command = [sys.executable, "-m", __name__, name, str(answer), json.dumps(arguments, default=str)]
    done = subprocess.run(
        command, env=_build_environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode:
        pytest.fail(f"{name} ended with status {done.returncode}:\n{done.stderr[-6000:]}", pytrace=False)
    return json.loads(answer.read_text())


def _build_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    # Checked tensors are those that a test registers; a scenario's are torch's own.
    own = {"MOESORT_TUNE_RUNTIME": "host", "MOESORT_HOST_CHECK": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **own, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}


def main() -> None:
    """Run the scenario that the command line names, and write its answer as JSON."""
    from tests.integrations.real import align_scenarios, scenarios

    name, answer, arguments = sys.argv[1:]
    module = scenarios if hasattr(scenarios, name) else align_scenarios
    result = getattr(module, name)(Path(answer).parent, **json.loads(arguments))
    Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
