"""Tables for whatever device the tests run on, and what the operator launches by them."""

from pathlib import Path
from typing import Any

import pytest

from moesort_tune.device import hip
from moesort_tune.operator.planned_sort import PlannedSort
from moesort_tune.sorting.kernels import SortingKernels
from moesort_tune.tables import store
from moesort_tune.tables.schema import Entry, Kernels, Row
from tests.tables import examples


def make_entry(kernels: SortingKernels, *rows: Row, revision: str | None = None, product: str | None = None) -> Entry:
    """Return an entry of the device, or of another product, and of the kernels loaded on it, or another revision."""
    limits = kernels.limits
    device = examples.device(
        compute_units=limits.compute_units,
        lds_bytes=limits.lds_bytes,
        wavefront_size=limits.wavefront_size,
        id=product,
    )
    of_kernels = Kernels(provider="builtin", revision=revision or kernels.revision)
    return examples.entry(rows, device=device, kernels=of_kernels)


def write_table(folder: Path, kernels: SortingKernels, *rows: Row, revision: str | None = None) -> Path:
    """Return a table of one entry for the device, in `folder`."""
    path = folder / f"{kernels.limits.arch}.yaml"
    store.save(path, examples.table(make_entry(kernels, *rows, revision=revision), arch=kernels.limits.arch))
    return path


class Launches(list[tuple[str, int]]):
    """What the operator launches while a test runs: (kernel, workspace bytes)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        plain = PlannedSort.launch

        def launch(planned: PlannedSort, kernel: Any, stream: hip.Stream, **tensors: Any) -> None:
            workspace = tensors["workspace"]
            self.append((kernel, 0 if workspace is None else workspace.nbytes))
            plain(planned, kernel, stream, **tensors)

        monkeypatch.setattr(PlannedSort, "launch", launch)

    @property
    def kernels(self) -> list[str]:
        """Names of the kernels, in order."""
        return [kernel for kernel, _ in self]
