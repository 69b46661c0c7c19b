"""Search for the table and entry that serve a process: files in their order, then the right kernels and device."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from moesort_tune.domain.device import AttachedGpu
from moesort_tune.domain.vocabulary import TIMINGS, Timing
from moesort_tune.providers.facts import registry
from moesort_tune.runtime.selection import Wanted, select
from moesort_tune.tables.errors import MissingTableError, TableError, format_key, format_path
from moesort_tune.tables.files import is_folder, load
from moesort_tune.tables.schema import Entry, Table

TABLE_VARIABLE: Final = "MOESORT_TUNE_TABLE"
ARCH_VARIABLE: Final = "MOESORT_TUNE_ARCH"


class Surroundings(msgspec.Struct, frozen=True):
    """The surroundings of a process. attached: finds the attached GPU; shipped: the package's folder of tables."""

    environment: Mapping[str, str]
    attached: Callable[[], AttachedGpu | None]
    shipped: Path


class Asked(msgspec.Struct, frozen=True):
    """The caller's kernels and device, None where it names none. Raise ValueError for values that make no sense."""

    arch: str | None = None
    compute_units: int | None = None
    kernels: str = "builtin"
    timing: Timing = "graph"
    revision: str | None = None

    def __post_init__(self) -> None:
        registry.get_provider(self.kernels)
        if self.timing not in TIMINGS:
            raise ValueError(f"timing must be {' or '.join(TIMINGS)}, got {self.timing!r}")
        if self.compute_units is not None and self.compute_units < 1:
            raise ValueError(f"compute_units must be at least 1, got {self.compute_units}")


class Found(msgspec.Struct, frozen=True):
    """The result of a search; table and entry are None where nothing is usable.

    arch, compute_units: of the device, as far as they are known.
    not_used: a sentence for each entry and file that does not serve; doubts: sentences that deserve a warning.
    """

    arch: str | None
    compute_units: int | None
    table: Path | None
    entry: Entry | None
    not_used: tuple[str, ...]
    doubts: tuple[str, ...]


class _Place(msgspec.Struct, frozen=True):
    """A file, or a folder of `<arch>.yaml`.

    by_caller: named in the call, so that a file's own architecture is meant where the call names none.
    by_user: named at all; published figures are used from such a file alone.
    """

    path: Path
    by_caller: bool = False
    by_user: bool = True


def find(asked: Asked, path: Path | None, around: Surroundings, *, strict: bool) -> Found:
    """Return the entry that serves; without a path, that of the environment's table, then that of a shipped one.

    strict: raise TableError for a table that is missing or refused, instead of continuing without it.
    """
    return _Search(asked, around, strict).run(path)


class _Search:
    """One search. It collects why entries are not used, and what is doubtful."""

    def __init__(self, asked: Asked, around: Surroundings, strict: bool) -> None:
        self._asked = asked
        self._around = around
        self._strict = strict
        self._not_used: list[str] = []
        self._doubts: list[str] = []

    def run(self, path: Path | None) -> Found:
        for place in self._list_places(path):
            try:
                found = self._search_place(place)
            except TableError as error:
                if self._strict:
                    raise
                self._not_used.append(str(error))
                self._doubts.append(f"{error}; this table is not used")
                continue
            if found is not None:
                return found
        arch = self._find_arch()
        return self._create_result(arch, self._find_compute_units(arch))

    def _list_places(self, path: Path | None) -> Iterator[_Place]:
        if path is not None:
            yield _Place(path, by_caller=True)
            return
        named = self._around.environment.get(TABLE_VARIABLE)
        if named:
            yield _Place(Path(named))
        yield _Place(self._around.shipped, by_user=False)

    def _search_place(self, place: _Place) -> Found | None:
        if not place.by_user or is_folder(place.path):
            return self._search_folder(place.path)
        table = load(place.path)
        arch = self._asked.arch if place.by_caller else self._find_arch()
        return self._search_table(place.path, table, arch or table.arch, named=True)

    def _search_folder(self, folder: Path) -> Found | None:
        arch = self._find_arch()
        if arch is None:
            where = format_path(folder)
            self._not_used.append(f"{where}: the architecture is not known; pass arch= or set {ARCH_VARIABLE}")
            return None
        file = folder / f"{arch}.yaml"
        try:
            table = load(file)
        except MissingTableError:
            self._not_used.append(f"{format_path(folder)} holds no {format_key(arch)}.yaml")
            return None
        return self._search_table(file, table, arch, named=False)

    def _search_table(self, file: Path, table: Table, arch: str, *, named: bool) -> Found | None:
        units = self._find_compute_units(arch)
        asked = self._asked
        selection = select(table, Wanted(arch, units, asked.kernels, asked.timing, asked.revision, named=named))
        name = format_path(file)
        self._not_used += [f"{name}: {sentence}" for sentence in selection.not_used]
        if selection.entry is None:
            return None
        self._doubts += [f"{name}: {selection.doubt}"] if selection.doubt else []
        return self._create_result(arch, units, file, selection.entry)

    @functools.cached_property
    def _attached(self) -> AttachedGpu | None:
        return self._around.attached()

    def _find_arch(self) -> str | None:
        from_environment = self._around.environment.get(ARCH_VARIABLE, "").partition(":")[0]
        return self._asked.arch or from_environment or (self._attached.arch if self._attached else None)

    def _find_compute_units(self, arch: str | None) -> int | None:
        """Return the number asked for, else the attached GPU's if it is of this architecture."""
        if self._asked.compute_units or self._attached is None or self._attached.arch != arch:
            return self._asked.compute_units
        if not self._attached.alike:
            self._doubts.append(
                f"the attached GPUs are of several kinds and one with {self._attached.compute_units} compute units"
                f" is taken to be meant; pass arch= and compute_units="
            )
        return self._attached.compute_units

    def _create_result(
        self, arch: str | None, compute_units: int | None, table: Path | None = None, entry: Entry | None = None
    ) -> Found:
        return Found(arch, compute_units, table, entry, tuple(self._not_used), tuple(self._doubts))
