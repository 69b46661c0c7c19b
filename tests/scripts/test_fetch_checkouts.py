"""What the scripts that fetch other projects' checkouts say where these cannot be had."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "commit"),
    [
        ("aiter", "e4048607a535ace3a2b51ded31b1c8c2d45c0879"),
        ("tinygrad", "a9069c177a9da9cca18593edf55acd2e6073cca6"),
    ],
)
def test_unreachable_checkout_is_one_sentence_and_a_status(tmp_path: Path, name: str, commit: str) -> None:
    """Protects CI without the project's repository: it reads why, and runs the other tests."""
    (tmp_path / "remote").mkdir()
    done = subprocess.run(
        [REPOSITORY / f"scripts/fetch-{name}", tmp_path / name],
        env={**os.environ, f"{name.upper()}_REMOTE": str(tmp_path / "remote")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"fetch-{name}: {commit} cannot be had from ")
    assert last.endswith(f"; set {name.upper()}_REMOTE to a mirror, or {name.upper()}_REPO to a checkout")
