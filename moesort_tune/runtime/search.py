"""Search for the entries that may serve a process: every place that names a table, in their order."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from moesort_tune.domain.device import AttachedGpu
from moesort_tune.domain.vocabulary import DEFAULT_PROVIDER, DEFAULT_TIMING, TIMINGS, Timing
from moesort_tune.providers.facts import registry
from moesort_tune.runtime.selection import Source, Wanted, find_usable, order_by_date, select_sources
from moesort_tune.tables.errors import MissingTableError, TableError, format_key, format_path
from moesort_tune.tables.files import is_folder, load_bytes, read
from moesort_tune.tables.schema import Table

TABLE_VARIABLE: Final = "MOESORT_TUNE_TABLE"
ARCH_VARIABLE: Final = "MOESORT_TUNE_ARCH"
REQUIRE_VARIABLE: Final = "MOESORT_TUNE_REQUIRE"


class RequiredTableError(TableError):
    """MOESORT_TUNE_TABLE does not name the very file that MOESORT_TUNE_REQUIRE asks for, or it cannot be used."""


class Surroundings(msgspec.Struct, frozen=True):
    """The surroundings of a process.

    attached: finds the attached GPU; shipped: the package's folder of tables. digests: whether those of all tables are
    wanted, and not only that of a required one.
    """

    environment: Mapping[str, str]
    attached: Callable[[], AttachedGpu | None]
    shipped: Path
    digests: bool = False


class Asked(msgspec.Struct, frozen=True):
    """The caller's kernels and device, None where it names none. Raise ValueError for values that make no sense.

    device_id: what tells products of one architecture apart, as a table's device.id.
    """

    arch: str | None = None
    compute_units: int | None = None
    kernels: str = DEFAULT_PROVIDER
    timing: Timing = DEFAULT_TIMING
    revision: str | None = None
    device_id: str | None = None

    def __post_init__(self) -> None:
        registry.get_provider(self.kernels)
        if self.timing not in TIMINGS:
            raise ValueError(f"timing must be {' or '.join(TIMINGS)}, got {self.timing!r}")
        if self.compute_units is not None and self.compute_units < 1:
            raise ValueError(f"compute_units must be at least 1, got {self.compute_units}")


class Found(msgspec.Struct, frozen=True):
    """The result of a search; without sources nothing is usable.

    arch, compute_units, device_id: of the device, as far as they are known.
    sources: the usable entries with the compute units that serve, the earliest place first.
    not_used: a sentence for each entry and file that does not serve; doubts: sentences that deserve a warning.
    """

    arch: str | None
    compute_units: int | None
    device_id: str | None
    sources: tuple[Source, ...]
    not_used: tuple[str, ...]
    doubts: tuple[str, ...]


class _Place(msgspec.Struct, frozen=True):
    """A file, or a folder of `<arch>.yaml`.

    by_caller: named in the call, so that a file's own architecture is meant where the call names none.
    by_user: named at all; figures that nobody measured are used from such a file alone.
    digest: that of the only file that may be read, None for any.
    """

    path: Path
    by_caller: bool = False
    by_user: bool = True
    digest: str | None = None


def find(asked: Asked, path: Path | None, around: Surroundings, *, strict: bool) -> Found:
    """Return the entries that may serve: of `path`, else of the environment's table and then of a shipped one.

    strict: raise TableError for a table that is missing or refused, instead of continuing without it. Raise
    RequiredTableError in any case.
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
        self._arch: str | None = None

    def run(self, path: Path | None) -> Found:
        sources: list[Source] = []
        for place in self._list_places(path):
            try:
                sources += self._search_place(place)
            except RequiredTableError:
                raise
            except TableError as error:
                if place.digest:
                    raise RequiredTableError(str(error)) from error
                if self._strict:
                    raise
                self._not_used.append(str(error))
                self._doubts.append(f"{error}; this table is not used")
        arch = self._arch or self._find_arch()
        units = self._find_compute_units(arch)
        selected = select_sources(arch or "", sources, units, one_revision=self._asked.revision is None)
        self._not_used += selected.not_used
        self._doubts += [selected.doubt] if selected.doubt else []
        found = (tuple(selected.sources), tuple(self._not_used), tuple(self._doubts))
        return Found(arch, units, self._find_device_id(arch), *found)

    def _list_places(self, path: Path | None) -> Iterator[_Place]:
        named = self._around.environment.get(TABLE_VARIABLE)
        digest = self._around.environment.get(REQUIRE_VARIABLE)
        if path is not None:
            yield _Place(path, by_caller=True, digest=get_required_digest(path, self._around.environment))
            return
        if digest and not named:
            raise RequiredTableError(f"{REQUIRE_VARIABLE} is set, but {TABLE_VARIABLE} names no table; set both")
        if named:
            yield _Place(Path(named), digest=digest or None)
        if not digest:
            yield _Place(self._around.shipped, by_user=False)

    def _search_place(self, place: _Place) -> list[Source]:
        if not place.by_user or is_folder(place.path):
            return self._search_folder(place)
        arch = self._asked.arch if place.by_caller else self._find_arch()
        return self._search_file(place, place.path, arch, named=True)

    def _search_folder(self, place: _Place) -> list[Source]:
        arch, folder = self._find_arch(), format_path(place.path)
        if arch is None:
            unknown = f"{folder}: the architecture is not known; pass arch= or set {ARCH_VARIABLE}"
            if place.digest:
                raise RequiredTableError(unknown)
            self._not_used.append(unknown)
            return []
        try:
            return self._search_file(place, place.path / f"{arch}.yaml", arch, named=False)
        except MissingTableError:
            if place.digest:
                raise
            self._not_used.append(f"{folder} holds no {format_key(arch)}.yaml")
            return []

    def _search_file(self, place: _Place, file: Path, arch: str | None, *, named: bool) -> list[Source]:
        data = read(file)
        digest = compute_digest(data) if place.digest or self._around.digests else ""
        if place.digest:
            _check_digest(file, digest, place.digest)
        table = load_bytes(file, data)
        if place.digest and arch not in (None, table.arch):
            raise RequiredTableError(f"{format_path(file)} is of {table.arch}, and this device is {format_key(arch)}")
        self._arch = self._arch or arch or table.arch
        return self._list_usable(file, digest, table, self._arch, named)

    def _list_usable(self, file: Path, digest: str, table: Table, arch: str, named: bool) -> list[Source]:
        asked = self._asked
        wanted = Wanted(arch, asked.kernels, asked.timing, asked.revision, named=named)
        usable, not_used = find_usable(table, wanted)
        self._not_used += [f"{format_path(file)}: {sentence}" for sentence in not_used]
        return [Source(file, digest, entry) for entry in order_by_date(usable)]

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

    def _find_device_id(self, arch: str | None) -> str | None:
        """Return the id asked for, else the attached GPU's if it is the device that is meant."""
        if self._asked.device_id or self._asked.compute_units:
            return self._asked.device_id
        if self._attached is None or self._attached.arch != arch or not self._attached.alike:
            return None
        return self._attached.device_id or None


def get_required_digest(path: Path, environment: Mapping[str, str]) -> str | None:
    """Return the digest that a file must have: MOESORT_TUNE_REQUIRE's, if MOESORT_TUNE_TABLE names that file."""
    named = environment.get(TABLE_VARIABLE)
    is_named = bool(named) and Path(named or "").absolute() == path.absolute()
    return environment.get(REQUIRE_VARIABLE) or None if is_named else None


def check_required(path: Path, environment: Mapping[str, str]) -> None:
    """Raise RequiredTableError for a file that MOESORT_TUNE_REQUIRE excludes. Raise TableError for a missing one."""
    required = get_required_digest(path, environment)
    if required:
        _check_digest(path, compute_digest(read(path)), required)


def _check_digest(file: Path, digest: str, required: str) -> None:
    if digest != required.lower():
        whole = len(required) == len(digest) and required.isalnum()
        wanted = required if whole else format_key(required)
        raise RequiredTableError(f"{format_path(file)} has the digest {digest}, and {REQUIRE_VARIABLE} is {wanted}")


def compute_digest(data: bytes) -> str:
    """Return the SHA-256 of a table's file in hexadecimal, as MOESORT_TUNE_REQUIRE asks for it."""
    import hashlib  # takes a tenth of the time that importing this room does

    return hashlib.sha256(data).hexdigest()
