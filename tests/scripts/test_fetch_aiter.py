"""What scripts/fetch-aiter says where AITER cannot be had."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_unreachable_aiter_is_one_sentence_and_a_status(tmp_path: Path) -> None:
    """Protects CI without AITER's repository: it reads why, and runs the other tests."""
    (tmp_path / "remote").mkdir()
    done = subprocess.run(
        [REPOSITORY / "scripts/fetch-aiter", tmp_path / "aiter"],
        env={**os.environ, "AITER_REMOTE": str(tmp_path / "remote")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fetch-aiter: e4048607a535ace3a2b51ded31b1c8c2d45c0879 cannot be had from ")
    assert last.endswith("; set AITER_REMOTE to a mirror, or AITER_REPO to a checkout")
