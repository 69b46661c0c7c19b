"""Search for left processes: a killed one and all its descendants must be gone."""

import os
import time
from pathlib import Path

MARK = f"71{os.getpid()}"
"""Seconds that a program sleeps, by which its process is found; other test processes have others."""


def find_processes(word: str) -> list[str]:
    """Return the command lines of processes that contain `word`, after waiting for killed ones to end."""
    found: list[str] = []
    for _ in range(3000):
        found = [line for path in Path("/proc").glob("[0-9]*/cmdline") if word in (line := _read_text(path))]
        if not found:
            break
        time.sleep(0.02)
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
