"""Decide by one entry of a table: Dispatcher, and the process's own dispatchers."""

import operator
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from moesort_tune import shipped
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.device import AttachedGpu, DeviceLimits
from moesort_tune.domain.vocabulary import (
    ALIGN,
    AUTOMATIC,
    DEFAULT_PROVIDER,
    DEFAULT_TIMING,
    LOGGER,
    SORTING,
    Condition,
    KernelName,
    Timing,
)
from moesort_tune.providers.facts import registry
from moesort_tune.providers.facts.base import Facts, get_operation, map_policies
from moesort_tune.runtime.explanation import Explanation
from moesort_tune.runtime.lookup import Plan, Reason, Rows, Segment, plan_of_provider, plan_of_rule
from moesort_tune.runtime.search import Asked, Found, Surroundings, find
from moesort_tune.runtime.selection import Source, choose_source
from moesort_tune.tables.errors import format_path
from moesort_tune.tables.schema import Entry

if TYPE_CHECKING:
    from moesort_tune.runtime.misses import Misses

__all__ = ["Dispatcher", "Explanation", "Reason", "get"]

MEMO_SHAPES: Final = 16_384
"""Decisions that are remembered; when there are more, all are forgotten. They take about 4 MB."""

PLAN_SHAPES: Final = 1_024
"""Pairs of num_experts and topk whose plans are remembered."""

UNKNOWN_DEVICE: Final = DeviceLimits("", compute_units=0, wavefront_size=64, lds_bytes=64 * 1024)
"""Limits of an architecture that is not known: the least LDS that any of them has."""

MISSES_VARIABLE: Final = "MOESORT_TUNE_MISSES"

_warned: dict[str, object] = {}


class _Cell:
    """A kind of decision, and how often it was returned."""

    __slots__ = ("policy", "reason", "times")

    def __init__(self, policy: int, reason: Reason) -> None:
        self.policy = policy
        self.reason = reason
        self.times = 0


class Dispatcher:
    """Decide by the entries of tables, or by the rule of the kernels' provider where none is usable.

    arch, compute_units, device_id: of the device, None where they are not known. kernels: name of their provider.
    table, entry: what decides a usual call of a shape without a row, None where nothing is usable; not_used says why.
    """

    __slots__ = (
        "_cells",
        "_facts",
        "_memo",
        "_misses",
        "_operation",
        "_plans",
        "_policies",
        "_rows",
        "_sources",
        "arch",
        "compute_units",
        "device_id",
        "entry",
        "kernels",
        "not_used",
        "table",
    )

    def __init__(self, found: Found, facts: Facts, misses: "Misses | None" = None) -> None:
        """Create one from a search's result; `load` is the usual way. misses: notes the shapes without a row."""
        self.arch = found.arch
        self.compute_units = found.compute_units
        self.device_id = found.device_id
        self.kernels = facts.name
        self.not_used = found.not_used
        self._sources = found.sources
        self._rows = [Rows(source.entry.rows) for source in found.sources]
        usual = self._choose_source(None, Condition())
        self.table = None if usual is None else found.sources[usual].table
        self.entry = None if usual is None else found.sources[usual].entry
        self._facts = facts
        self._operation = get_operation(facts)
        self._policies: dict[KernelName | None, int] = {None: AUTOMATIC}
        self._policies.update(map_policies(facts).items())
        self._misses = misses
        self._plans: dict[tuple[int, int, Condition], _Decided] = {}
        # A cell for each kind of decision; the memo holds the cell of each call, of unusual ones with their condition.
        self._cells: dict[tuple[int, Reason], _Cell] = {}
        self._memo: dict[tuple[int, ...], _Cell] = {}

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        arch: str | None = None,
        compute_units: int | None = None,
        kernels: str = DEFAULT_PROVIDER,
        timing: Timing = DEFAULT_TIMING,
        revision: str | None = None,
        device_id: str | None = None,
    ) -> "Dispatcher":
        """Return a dispatcher by the table in `path`, a file or a folder that holds `<arch>.yaml`.

        Without a path: by the table that MOESORT_TUNE_TABLE names, else by the one that ships with this package.
        arch: 'gfx942', also as HIP writes it; by default that of the file, else MOESORT_TUNE_ARCH, else the attached
        AMD GPU's. compute_units: by default the attached GPU's, if it is of that architecture.
        kernels, timing: the provider of the kernels that will run, and how they run. revision: of these kernels; None
        does not check. device_id: of the product, '0x74a1' or NVIDIA's name; by default the attached GPU's. Where no
        entry is usable, the rule of these kernels decides, which is logged once. Raise MoesortTuneError for a table
        that is missing or refused, ValueError for values that make no sense, TypeError for compute units that are no
        integer and for a device_id that is no text.
        """
        asked = _check_asked(arch, compute_units, kernels, timing, revision, device_id)
        return _create(cls, asked, None if path is None else Path(path), strict=True)

    def policy(self, tokens: int, num_experts: int, topk: int, moe_buf: bool = True, masked: bool = False) -> int:
        """Return 1 for oneshot, 2 for multiphase, 3 for wave, 0 to let AITER decide; other providers have others.

        moe_buf: the call zeroes a moe_buf. masked: it brings a local_expert_mask; num_experts is its length. Kernels
        that align zero nothing, and their rows decide with and without an expert map; SGLang's num_experts, which
        counts the id -1, is passed as that of a mask.
        Raise TypeError for what is no integer (numpy's are), ValueError for negative tokens and empty shapes.
        """
        try:
            # A float finds the decision of the integer that it equals, but it has no `|`.
            if moe_buf and not masked:
                cell = self._memo[tokens | 0, num_experts | 0, topk | 0]
            else:
                cell = self._memo[tokens | 0, num_experts | 0, topk | 0, 1 if moe_buf else 0, 1 if masked else 0]
        except Exception:
            cell = self._decide(tokens, num_experts, topk, Condition(bool(moe_buf), bool(masked)))
        cell.times += 1  # atomic while there is a GIL; without one a count may get lost, nothing else
        return cell.policy

    def reason(self, tokens: int, num_experts: int, topk: int, moe_buf: bool = True, masked: bool = False) -> Reason:
        """Return why `policy` decides as it does, without counting it. Raise as `policy` does."""
        usual = moe_buf and not masked
        call = (tokens, num_experts, topk) if usual else (tokens, num_experts, topk, int(moe_buf), int(masked))
        known = self._memo.get(call)
        if known is not None:
            return known.reason
        tokens, num_experts, topk = _check_shape(tokens, num_experts, topk)
        return self._plan(num_experts, topk, Condition(bool(moe_buf), bool(masked))).plan.at(tokens).reason

    def explain(
        self, tokens: int, num_experts: int, topk: int, moe_buf: bool = True, masked: bool = False
    ) -> Explanation:
        """Return the decision with its reason and rows, without counting it. Raise as `policy` does."""
        tokens, num_experts, topk = _check_shape(tokens, num_experts, topk)
        condition = Condition(bool(moe_buf), bool(masked))
        decided = self._plan(num_experts, topk, condition)
        segment = decided.plan.at(tokens)
        source = decided.source
        return Explanation(
            tokens=tokens,
            num_experts=num_experts,
            topk=topk,
            condition=None if self._operation == ALIGN else condition,
            policy=self._policies[segment.kernel],
            kernel=segment.kernel or "automatic",
            reason=segment.reason,
            rows=decided.plan.rows,
            tie=segment.reason is Reason.EXACT and bool(decided.plan.rows[0].list_tied(tokens)),
            table=source.table if source else None,
            entry=source.entry if source else None,
            device_id=self.device_id,
            not_used=self.not_used,
            without_row=self._list_tables_without(source, num_experts, topk, condition) if source else (),
            operation=self._operation,
        )

    def _list_tables_without(
        self, source: Source, num_experts: int, topk: int, condition: Condition
    ) -> tuple[Path, ...]:
        """Return the tables of earlier places than the source's that have no row for the shape."""
        tables = list(dict.fromkeys(one.table for one in self._sources))
        earlier = tables[: tables.index(source.table)]
        exact = self._list_exact(num_experts, topk, masked=condition.masked)
        having = {one.table for one, has_row in zip(self._sources, exact, strict=True) if has_row}
        return tuple(path for path in earlier if path not in having)

    def counts(self) -> dict[str, int]:
        """Return how often `policy` decided for each reason, the most frequent first."""
        totals: dict[str, int] = {}
        for cell in list(self._cells.values()):
            totals[cell.reason.value] = totals.get(cell.reason.value, 0) + cell.times
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def has_row(self, num_experts: int, topk: int, masked: bool = False) -> bool:
        """Return whether an entry has a row for exactly this shape. Raise TypeError for what is no integer."""
        shape = (_to_integer("num_experts", num_experts), _to_integer("topk", topk))
        return any(self._list_exact(*shape, masked=masked))

    def wait_for_misses(self) -> None:
        """Return when the misses noted so far are in their file, or cannot be, or after five seconds; for tests.

        A process that ends waits for them itself, for two seconds at most.
        """
        if self._misses is not None:
            self._misses.wait()

    def _decide(self, tokens: int, num_experts: int, topk: int, condition: Condition) -> _Cell:
        tokens, num_experts, topk = _check_shape(tokens, num_experts, topk)
        segment: Segment = self._plan(num_experts, topk, condition).plan.at(tokens)
        key = (self._policies[segment.kernel], segment.reason)
        cell = self._cells.setdefault(key, _Cell(*key))
        if len(self._memo) >= MEMO_SHAPES:
            self._memo.clear()
        call = (tokens, num_experts, topk)
        self._memo[call if condition == Condition() else (*call, *map(int, condition))] = cell
        if self._misses is not None and not self.has_row(num_experts, topk, condition.masked):
            self._misses.note(num_experts=num_experts, topk=topk, tokens=tokens)
        return cell

    def _plan(self, num_experts: int, topk: int, condition: Condition) -> "_Decided":
        key = (num_experts, topk, condition)
        decided = self._plans.get(key)
        if decided is None:
            decided = self._create_plan(num_experts, topk, condition)
            if len(self._plans) >= PLAN_SHAPES:
                self._plans.clear()
            self._plans[key] = decided
        return decided

    def _create_plan(self, num_experts: int, topk: int, condition: Condition) -> "_Decided":
        index = self._choose_source((num_experts, topk), condition)
        source = None if index is None else self._sources[index]
        if source is None and self._facts.decides_itself:
            return _Decided(plan_of_provider(), None)
        device = limits_of(self.arch, self.compute_units, source.entry if source else None)
        limits: Limits = self._facts.limits(num_experts, topk, device)
        rule = self._facts.rule(num_experts, topk, device, condition)
        if index is None:
            return _Decided(plan_of_rule(rule, self._facts.rule_name, limits), None)
        plan = self._rows[index].plan(num_experts, topk, limits, rule, masked=condition.masked)
        return _Decided(plan, source)

    def _list_exact(self, num_experts: int, topk: int, *, masked: bool) -> list[bool]:
        """Return whether each source has a row for exactly this shape."""
        return [rows.find_exact(num_experts, topk, masked=masked) is not None for rows in self._rows]

    def _choose_source(self, shape: tuple[int, int] | None, condition: Condition) -> int | None:
        """Return the index of the source that decides a shape, or any shape without a row; None without sources."""
        if not self._sources:
            return None
        none = [False] * len(self._sources)
        exact = none if shape is None else self._list_exact(*shape, masked=condition.masked)
        return choose_source(self._sources, exact=exact, condition=condition, device_id=self.device_id)


class _Decided(NamedTuple):
    """The plan of a shape under a condition, and the source that it is from, None for a rule."""

    plan: Plan
    source: Source | None


_dispatchers: dict[Asked, Dispatcher] = {}
_creating = threading.Lock()


def get(
    arch: str | None = None,
    compute_units: int | None = None,
    *,
    kernels: str = DEFAULT_PROVIDER,
    timing: Timing = DEFAULT_TIMING,
    revision: str | None = None,
    device_id: str | None = None,
) -> Dispatcher:
    """Return the process's dispatcher for a device, creating it at the first call.

    Arguments and tables are those of `Dispatcher.load`. A table that is missing or refused does not stop a serving
    process: the next one is tried, the kernels' rule comes last, and log and `explain` say why. Raise
    RequiredTableError where MOESORT_TUNE_REQUIRE asks for another table.
    """
    asked = _check_asked(arch, compute_units, kernels, timing, revision, device_id)
    if asked not in _dispatchers:
        with _creating:
            if asked not in _dispatchers:
                _dispatchers[asked] = _create(Dispatcher, asked, None, strict=False)
    return _dispatchers[asked]


def reset() -> None:
    """Forget the dispatchers of `get`, so that the environment and the tables are read again."""
    with _creating:
        _dispatchers.clear()


def _renew_lock() -> None:
    """Replace the lock in a forked child, where the thread that held it is gone."""
    global _creating  # noqa: PLW0603 - a process has one
    _creating = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _create(cls: type[Dispatcher], asked: Asked, path: Path | None, *, strict: bool) -> Dispatcher:
    folder = shipped.get_tables_folder()
    around = Surroundings(os.environ, _find_attached, folder, digests="logging" in sys.modules)
    found = find(asked, path, around, strict=strict)
    for doubt in found.doubts:
        _warn_once(doubt)
    facts = registry.get_facts(asked.kernels)
    dispatcher = cls(found, facts, _open_misses(found, asked.kernels))
    if not found.sources:
        _warn_once(_explain_missing_entry(found, facts))
    for source in found.sources:
        digest = f" (sha256 {source.digest})" if source.digest else ""
        _log_if_imported(
            f"{'sorting' if source.entry.operation == SORTING else source.entry.operation} kernels are chosen by"
            f" {format_path(source.table)}{digest}, entry of {source.entry.key}"
        )
    return dispatcher


def _find_attached() -> AttachedGpu | None:
    from moesort_tune.device import kfd  # not needed where the caller says which device
    from moesort_tune.device.attached import find_attached_gpu

    return find_attached_gpu(kfd.list_gpus(), os.environ)


def _check_asked(  # noqa: PLR0917 - the arguments of load, in its order
    arch: str | None,
    compute_units: int | None,
    kernels: str,
    timing: Timing,
    revision: str | None,
    device_id: str | None,
) -> Asked:
    units = None if compute_units is None else _to_integer("compute_units", compute_units)
    if device_id is not None and not isinstance(device_id, str):
        raise TypeError(f"device_id must be a str like '0x74a1', got {device_id!r}")
    return Asked(_strip_features(arch), units, kernels, timing, revision, device_id)


def _strip_features(arch: str | None) -> str | None:
    from moesort_tune.device.architectures import parse_gcn_arch_name

    return None if arch is None else parse_gcn_arch_name(arch)


def _open_misses(found: Found, kernels: str) -> "Misses | None":
    path = os.environ.get(MISSES_VARIABLE)
    if not path:
        return None
    from moesort_tune.runtime.misses import Misses

    return Misses(Path(path), arch=found.arch, compute_units=found.compute_units, kernels=kernels)


def _explain_missing_entry(found: Found, facts: Facts) -> str:
    owner = facts.label.removesuffix("'s")
    decides = f"{owner} itself decides" if facts.decides_itself else f"{facts.rule_name} decides"
    why = "; ".join(found.not_used)
    align = get_operation(facts) == ALIGN
    kernels, sweep = ("align kernels", "sweep --operation align") if align else ("sorting kernels", "sweep")
    return f"no usable table, so {decides} between the {kernels} ({why}); `moesort-tune {sweep}` makes a table"


def limits_of(arch: str | None, compute_units: int | None, entry: Entry | None) -> DeviceLimits:
    """Return what limits the kernels on the device, so that no entry makes one legal where it is not."""
    from moesort_tune.device.architectures import ARCHITECTURES, limit_lds_bytes

    arch, units = arch or "", compute_units or 0
    if entry is not None:
        device = entry.device
        return DeviceLimits(arch, units, device.wavefront_size, limit_lds_bytes(arch, device.lds_bytes))
    known = ARCHITECTURES.get(arch)
    return DeviceLimits(arch, units, known.wavefront_size, known.lds_bytes) if known else UNKNOWN_DEVICE


def _check_shape(tokens: int, num_experts: int, topk: int) -> tuple[int, int, int]:
    """Return the three as plain integers: numpy's overflow, and a decision is remembered for all that are equal."""
    shape = (_to_integer("tokens", tokens), _to_integer("num_experts", num_experts), _to_integer("topk", topk))
    if shape[0] < 0 or shape[1] < 1 or shape[2] < 1:
        raise ValueError(
            f"expected tokens >= 0, num_experts >= 1 and topk >= 1, got tokens={tokens}, num_experts={num_experts},"
            f" topk={topk}"
        )
    return shape


def _to_integer(name: str, value: int) -> int:
    try:
        return operator.index(
            value if hasattr(value, "__index__") else value | 0
        )  # numpy's booleans have only the latter
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__} {value!r:.60}") from None


def _warn_once(sentence: str) -> None:
    """Warn once for each cause in this process."""
    mine = object()
    if _warned.setdefault(sentence, mine) is mine:
        import logging  # a fifth of the time that importing this module takes, and mostly there already

        logging.getLogger(LOGGER).warning("%s", sentence)


def _log_if_imported(sentence: str) -> None:
    """Log at INFO if logging is already imported."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger(LOGGER).info("%s", sentence)
