"""What tests of the command line share."""

from pathlib import Path

import pytest

from tests.cli.swept import CROSSING, HostMachine


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HostMachine:
    """Return the host runtime with kernels that cross at 40 tokens, without the checking mode of other tests."""
    monkeypatch.setenv("MOESORT_HOST_CHECK", "0")
    monkeypatch.delenv("MOESORT_TUNE_RUNTIME", raising=False)
    machine = HostMachine(monkeypatch, tmp_path)
    machine.set(CLOCK=CROSSING)
    return machine
