"""Which processes are left: what was killed, and all that it started, must be gone."""

import os
import time
from pathlib import Path

MARK = f"71{os.getpid()}"
"""Seconds that a program sleeps, by which its process is found; other test processes have others."""


def processes_with(word: str) -> list[str]:
    """Command lines of running processes that hold `word`, once those that were killed had time to go."""
    found: list[str] = []
    for _ in range(3000):
        found = [line for path in Path("/proc").glob("[0-9]*/cmdline") if word in (line := _text(path))]
        if not found:
            break
        time.sleep(0.02)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
