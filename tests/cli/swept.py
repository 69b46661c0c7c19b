"""Run `sweep` and `verify` on the host runtime under a virtual clock, whose formulas say where the kernels cross."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from moesort_tune.cli.main import run
from moesort_tune.tables import store
from moesort_tune.tables.schema import Row

SMALL = ("--arch", "host", "--tokens", "1:128", "--model-dim", "32", "--time-budget", "600")
"""A grid whose kernels really run in milliseconds, and time enough to end it on a machine that is busy otherwise."""


def build_clock(oneshot: str, multiphase: str = "700", wave: str = "9000") -> str:
    """Return formulas in us of tokens, experts and topk. Multiphase's launches share its time; wave never wins."""
    return f"moe_sorting_wave*={wave};moe_sorting_oneshot*={oneshot};moe_sorting_*=({multiphase})/2;*=500"


CROSSING = build_clock("300+10*tokens")
"""Oneshot and multiphase take 700 us at 40 tokens, and are within 2 % of each other from 39 to 41."""


@dataclass(frozen=True)
class HostMachine:
    """This machine with the virtual clock as its only device."""

    monkeypatch: pytest.MonkeyPatch
    folder: Path

    @property
    def table(self) -> Path:
        """Where sweeps write."""
        return self.folder / "host.yaml"

    def set(self, **variables: str) -> None:
        """Environment variables MOESORT_HOST_* of the processes that run the kernels."""
        for name, value in variables.items():
            self.monkeypatch.setenv(f"MOESORT_HOST_{name}", value)

    def sweep(self, *options: str) -> int:
        """Return the exit status of `moesort-tune sweep`."""
        return run(["sweep", *SMALL, "--out", str(self.table), *options])

    def rows(self) -> dict[tuple[int, int], Row]:
        """Return the rows of the table by (num_experts, topk)."""
        (entry,) = store.load(self.table).tables
        return {row.shape: row for row in entry.rows}
