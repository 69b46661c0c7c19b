"""Python processes on top of the real HIP libraries of ROCm 5.2.3, which MOESORT_TEST_ROCM names."""

import os
import subprocess
import sys
from pathlib import Path

from tests.opt_in import skip_or_fail

FOLDER_VARIABLE = "MOESORT_TEST_ROCM"
REPOSITORY = Path(__file__).parents[2]


def find_folder(suite: str = "real_rocm") -> Path:
    """Return the folder that scripts/fetch-rocm-5.2 made; skip the calling test of `suite` where there is none."""
    named = os.environ.get(FOLDER_VARIABLE)
    if not named or not list(Path(named).glob("lib/libamdhip64.so.5*")):
        skip_or_fail(suite, f"{FOLDER_VARIABLE} does not name a folder that scripts/fetch-rocm-5.2 made")
    return Path(named).resolve()


def run_python(program: str, *arguments: str, suite: str = "real_rocm") -> "subprocess.CompletedProcess[str]":
    """Run `program` in a process whose HIP runtime is the real one."""
    root = find_folder(suite)
    environment = {
        **os.environ,
        "ROCM_PATH": str(root),
        "LD_LIBRARY_PATH": str(root / "lib"),
        "MOESORT_TUNE_RUNTIME": "amd",
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False
    )


_COMPILE = """
import sys
from pathlib import Path
from moesort_tune.device.compiler import Unit, compile_in_child
from moesort_tune.errors import MoesortTuneError
file, target, output = sys.argv[1:]
try:
    Path(output).write_bytes(compile_in_child(Unit(file, target)))
except MoesortTuneError as error:
    sys.exit(str(error))
"""


def compile_file(file: str, target: str, output: Path, *, suite: str = "real_rocm") -> str:
    """Compile one kernel file by the real hiprtc into `output`; return '' or the error's sentence."""
    answer = run_python(_COMPILE, file, target, str(output), suite=suite)
    return "" if answer.returncode == 0 else answer.stderr.strip()
