"""Read the figures that `verify --json` printed, for a page."""

from pathlib import Path

import msgspec

from moesort_tune.domain.vocabulary import SORTING, Operation
from moesort_tune.errors import MoesortTuneError
from moesort_tune.regular_files import open_regular
from moesort_tune.tables.schema import Table


class WorstAt(msgspec.Struct, frozen=True):
    """The point at which a regret is worst."""

    num_experts: int
    topk: int
    tokens: int


class RegretFigures(msgspec.Struct, frozen=True):
    """The regret of one policy; see verify.regret.Regret."""

    mean: float
    p90: float
    worst: float
    worst_at: WorstAt

    @property
    def where(self) -> str:
        """The worst point in words, '-' where the regret is 1 everywhere."""
        at = self.worst_at
        return f"{at.num_experts}/{at.topk} at {at.tokens} tokens" if self.worst > 1 else "-"


class ReportFigures(msgspec.Struct, frozen=True):
    """One setting: the regret by the policies' names, that of what decides first."""

    setting: str
    points: int
    regret: dict[str, RegretFigures]


class VerifyFigures(msgspec.Struct, frozen=True):
    """The result of a verification."""

    arch: str
    device: str
    compute_units: int
    revision: str
    reports: list[ReportFigures]
    operation: Operation = SORTING


def read_verify_figures(path: Path, table: Table) -> list[VerifyFigures]:
    """Return the figures in a file, by device. Raise MoesortTuneError if it holds none, or those of another table."""
    try:
        with open_regular(path) as file:
            found = msgspec.json.decode(file.read(), type=VerifyFigures | list[VerifyFigures])
    except OSError as error:
        raise MoesortTuneError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise MoesortTuneError(f"{path} is not what `moesort-tune verify --json` prints: {error}") from error
    results = found if isinstance(found, list) else [found]
    for result in results:
        _check(result, path, table)
    return results


def _check(figures: VerifyFigures, path: Path, table: Table) -> None:
    """Raise MoesortTuneError for figures of a device or of kernels that the table has no entry for."""
    revisions = {(entry.key.compute_units, entry.key.revision) for entry in table.tables}
    if figures.arch != table.arch or (figures.compute_units, figures.revision) not in revisions:
        raise MoesortTuneError(
            f"{path} verifies kernels {figures.revision} on {figures.arch} with {figures.compute_units} compute units,"
            " which the table has no entry for; run `moesort-tune verify --json` with this table"
        )
