"""The decision in a serving process: which sorting kernel for this call, by a measured table.

    dispatcher = runtime.Dispatcher.load("tables/gfx950.yaml", compute_units=256)
    dispatcher.policy(tokens=32, num_experts=128, topk=4)  # 1: oneshot, 2: multiphase

Light to import, needs no GPU. `policy` measures nothing, calls no GPU and takes no lock, so that it may be called
during graph capture and from many threads.
"""

import operator
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from moesort_tune import shipped
from moesort_tune.domain.device import AttachedGpu
from moesort_tune.domain.vocabulary import Timing
from moesort_tune.providers.facts.aiter_rule import aiter_forced_oneshot_max_tokens, aiter_oneshot_max_tokens
from moesort_tune.runtime.lookup import Plan, Reason, Rows, plan_of_provider, plan_of_rule
from moesort_tune.runtime.search import Asked, Found, Surroundings, find
from moesort_tune.sorting.sizes import oneshot_max_tokens
from moesort_tune.tables.errors import path_text
from moesort_tune.tables.schema import Entry, Provider, Row

if TYPE_CHECKING:
    from moesort_tune.runtime.misses import Misses

__all__ = ["Dispatcher", "Explanation", "Reason", "get"]

MEMO_SHAPES: Final = 16_384
"""Decisions that are remembered; when there are more, all are forgotten. They take about 4 MB."""

PLAN_SHAPES: Final = 1_024
"""Pairs of num_experts and topk whose plans are remembered."""

UNKNOWN_LDS_BYTES: Final = 64 * 1024
"""LDS of an architecture that is not known: the least that any of them has."""

MISSES_VARIABLE: Final = "MOESORT_TUNE_MISSES"

LOGGER: Final = "moesort_tune"
_KERNELS: Final = {0: "automatic", 1: "oneshot", 2: "multiphase"}
_warned: dict[str, object] = {}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision and all that led to it; as text one sentence.

    policy: 1 oneshot, 2 multiphase, 0 the kernels' own rule.
    rows: the rows that it was made from, two between neighbours, none by AITER's rule.
    tie: neither kernel won at this token count.
    table, entry: where the rows are from, None without a usable entry.
    not_used: a sentence for each entry that was not used.
    """

    tokens: int
    num_experts: int
    topk: int
    policy: int
    reason: Reason
    rows: tuple[Row, ...]
    tie: bool
    table: Path | None
    entry: Entry | None
    not_used: tuple[str, ...]

    @property
    def kernel(self) -> str:
        """'oneshot', 'multiphase' or 'automatic'."""
        return _KERNELS[self.policy]

    @property
    def row(self) -> Row | None:
        """The row that decided, the lower one between neighbours."""
        return self.rows[0] if self.rows else None

    def __str__(self) -> str:
        asked = f"{self.tokens} tokens, {self.num_experts} experts, topk {self.topk}"
        return (
            f"{self.kernel} (policy {self.policy}) for {asked}: {self.reason}{self._rows_told()}; {self._entry_told()}"
        )

    def _rows_told(self) -> str:
        shapes = " and ".join(f"{row.num_experts}/{row.topk}" for row in self.rows)
        told = f" ({'rows' if len(self.rows) > 1 else 'row'} {shapes})" if shapes else ""
        return told + (", in a tie" if self.tie else "")

    def _entry_told(self) -> str:
        if self.entry is None or self.table is None:
            return "; ".join(self.not_used) or "no table"
        return f"table {path_text(self.table)}, entry of {self.entry.key}"


class _Cell:
    """A kind of decision, and how often it was given."""

    __slots__ = ("policy", "reason", "times")

    def __init__(self, policy: int, reason: Reason) -> None:
        self.policy = policy
        self.reason = reason
        self.times = 0


class Dispatcher:
    """Decides by one entry of a table, or by AITER's rule where there is none.

    arch, compute_units: of the device, None where they are not known.
    table, entry: what decides, None where nothing usable was found; not_used says why.
    """

    __slots__ = (
        "_cells",
        "_lds_bytes",
        "_memo",
        "_misses",
        "_plans",
        "_rows",
        "arch",
        "compute_units",
        "entry",
        "kernels",
        "not_used",
        "table",
    )

    def __init__(self, found: Found, kernels: Provider, misses: "Misses | None" = None) -> None:
        """See `load`. misses: where shapes without a row are written down."""
        self.arch = found.arch
        self.compute_units = found.compute_units
        self.kernels = kernels
        self.table = found.table
        self.entry = found.entry
        self.not_used = found.not_used
        self._rows = Rows(found.entry.rows) if found.entry else None
        self._lds_bytes = _lds_bytes(found)
        self._misses = misses
        self._plans: dict[tuple[int, int], Plan] = {}
        # A cell for each kind of decision; the memo holds the cell of each shape.
        self._cells: dict[tuple[int, Reason], _Cell] = {}
        self._memo: dict[tuple[int, int, int], _Cell] = {}

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        arch: str | None = None,
        compute_units: int | None = None,
        kernels: Provider = "builtin",
        timing: Timing = "graph",
        revision: str | None = None,
    ) -> "Dispatcher":
        """A dispatcher by the table in `path`, a file or a folder that holds `<arch>.yaml`.

        Without a path: by the table that MOESORT_TUNE_TABLE names, else by the one that ships with this package.
        arch: 'gfx942', also as HIP writes it; by default that of the file, else MOESORT_TUNE_ARCH, else the attached
        AMD GPU's. compute_units: by default the attached GPU's, if it is of that architecture.
        kernels, timing: whose kernels will run, and how. revision: of the kernels that will run; None does not check.
        Where no entry is usable, AITER's rule decides (for AITER's own kernels: AITER), said once in the log.
        Raises MoesortTuneError for a table that is missing or refused, ValueError for values that make no sense,
        TypeError for compute units that are no integer.
        """
        asked = _asked(arch, compute_units, kernels, timing, revision)
        return _made(cls, asked, None if path is None else Path(path), strict=True)

    def policy(self, tokens: int, num_experts: int, topk: int) -> int:
        """1: oneshot, 2: multiphase; 0 leaves it to AITER.

        Raises TypeError for what is no integer (numpy's are), ValueError for negative tokens and empty shapes.
        """
        try:
            # A float finds the decision of the integer that it equals, but it has no `|`.
            cell = self._memo[tokens | 0, num_experts | 0, topk | 0]
        except Exception:
            cell = self._decide(tokens, num_experts, topk)
        cell.times += 1  # atomic while there is a GIL; without one a count may get lost, nothing else
        return cell.policy

    def explain(self, tokens: int, num_experts: int, topk: int) -> Explanation:
        """The decision with its reason and rows; it is not counted. Raises as `policy` does."""
        tokens, num_experts, topk = _checked_shape(tokens, num_experts, topk)
        plan = self._plan(num_experts, topk)
        segment = plan.at(tokens)
        return Explanation(
            tokens=tokens,
            num_experts=num_experts,
            topk=topk,
            policy=segment.policy,
            reason=segment.reason,
            rows=plan.rows,
            tie=segment.reason is Reason.EXACT and plan.rows[0].in_tie(tokens),
            table=self.table,
            entry=self.entry,
            not_used=self.not_used,
        )

    def counts(self) -> dict[str, int]:
        """How often each reason was given by `policy`, most frequent first."""
        totals: dict[str, int] = {}
        for cell in list(self._cells.values()):
            totals[cell.reason.value] = totals.get(cell.reason.value, 0) + cell.times
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def has_row(self, num_experts: int, topk: int) -> bool:
        """Whether the entry in use has a row for exactly this shape. Raises TypeError for what is no integer."""
        shape = (_integer("num_experts", num_experts), _integer("topk", topk))
        return self._rows is not None and shape in self._rows

    def wait_for_misses(self) -> None:
        """Return when the misses noted so far are in their file, or cannot be, or after five seconds; for tests.

        A process that ends waits for them by itself, for two seconds at most.
        """
        if self._misses is not None:
            self._misses.wait()

    def _decide(self, tokens: int, num_experts: int, topk: int) -> _Cell:
        tokens, num_experts, topk = _checked_shape(tokens, num_experts, topk)
        segment = self._plan(num_experts, topk).at(tokens)
        key = (segment.policy, segment.reason)
        cell = self._cells.setdefault(key, _Cell(*key))
        if len(self._memo) >= MEMO_SHAPES:
            self._memo.clear()
        self._memo[tokens, num_experts, topk] = cell
        if self._misses is not None and not self.has_row(num_experts, topk):
            self._misses.note(num_experts=num_experts, topk=topk, tokens=tokens)
        return cell

    def _plan(self, num_experts: int, topk: int) -> Plan:
        plan = self._plans.get((num_experts, topk))
        if plan is None:
            plan = self._new_plan(num_experts, topk)
            if len(self._plans) >= PLAN_SHAPES:
                self._plans.clear()
            self._plans[num_experts, topk] = plan
        return plan

    def _new_plan(self, num_experts: int, topk: int) -> Plan:
        if self._rows is not None:
            return self._rows.plan(num_experts, topk, self._longest_oneshot)
        if self.kernels == "aiter":
            return plan_of_provider()
        return plan_of_rule(aiter_oneshot_max_tokens(num_experts), self._longest_oneshot(num_experts, topk))

    def _longest_oneshot(self, num_experts: int, topk: int) -> int:
        if self.kernels == "aiter":
            return aiter_forced_oneshot_max_tokens(num_experts)
        return oneshot_max_tokens(num_experts, topk, self._lds_bytes)


_dispatchers: dict[Asked, Dispatcher] = {}
_creating = threading.Lock()


def get(
    arch: str | None = None,
    compute_units: int | None = None,
    *,
    kernels: Provider = "builtin",
    timing: Timing = "graph",
    revision: str | None = None,
) -> Dispatcher:
    """The process's dispatcher for a device, made at the first call; arguments and tables as in `Dispatcher.load`.

    A table that is missing or refused does not stop a serving process: the next one is tried, AITER's rule comes
    last, and log and `explain` say why.
    """
    asked = _asked(arch, compute_units, kernels, timing, revision)
    if asked not in _dispatchers:
        with _creating:
            if asked not in _dispatchers:
                _dispatchers[asked] = _made(Dispatcher, asked, None, strict=False)
    return _dispatchers[asked]


def reset() -> None:
    """Forgets what `get` made, so that the environment and the tables are looked at again."""
    with _creating:
        _dispatchers.clear()


def _renew_lock() -> None:
    """In a forked child, where the thread that held the lock is gone."""
    global _creating  # noqa: PLW0603 - a process has one
    _creating = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _made(cls: type[Dispatcher], asked: Asked, path: Path | None, *, strict: bool) -> Dispatcher:
    found = find(asked, path, Surroundings(os.environ, _attached, shipped.tables_folder()), strict=strict)
    for doubt in found.doubts:
        _warn_once(doubt)
    dispatcher = cls(found, asked.kernels, _misses(found, asked.kernels))
    if found.entry is None or found.table is None:
        _warn_once(_without_entry(found, asked.kernels))
    else:
        _inform(f"sorting kernels are chosen by {path_text(found.table)}, entry of {found.entry.key}")
    return dispatcher


def _attached() -> AttachedGpu | None:
    from moesort_tune.device import kfd  # not needed where the caller says which device
    from moesort_tune.device.attached import attached_gpu

    return attached_gpu(kfd.gpus(), os.environ)


def _asked(
    arch: str | None, compute_units: int | None, kernels: Provider, timing: Timing, revision: str | None
) -> Asked:
    units = None if compute_units is None else _integer("compute_units", compute_units)
    return Asked(_bare(arch), units, kernels, timing, revision)


def _bare(arch: str | None) -> str | None:
    from moesort_tune.device.architectures import parse_gcn_arch_name

    return None if arch is None else parse_gcn_arch_name(arch)


def _misses(found: Found, kernels: Provider) -> "Misses | None":
    path = os.environ.get(MISSES_VARIABLE)
    if not path:
        return None
    from moesort_tune.runtime.misses import Misses

    return Misses(Path(path), arch=found.arch, compute_units=found.compute_units, kernels=kernels)


def _without_entry(found: Found, kernels: Provider) -> str:
    decides = "AITER itself decides" if kernels == "aiter" else "AITER's rule decides"
    why = "; ".join(found.not_used)
    return f"no usable table, so {decides} between the sorting kernels ({why}); `moesort-tune sweep` makes a table"


def _lds_bytes(found: Found) -> int:
    """What limits oneshot on the device, so that no entry makes it legal where it is not."""
    from moesort_tune.device.architectures import ARCHITECTURES, usable_lds_bytes

    if found.entry is not None:
        return usable_lds_bytes(found.arch or "", found.entry.device.lds_bytes)
    known = ARCHITECTURES.get(found.arch or "")
    return known.lds_bytes if known else UNKNOWN_LDS_BYTES


def _checked_shape(tokens: int, num_experts: int, topk: int) -> tuple[int, int, int]:
    """The three as plain integers: those of numpy overflow, and a decision is remembered for all that are equal."""
    shape = (_integer("tokens", tokens), _integer("num_experts", num_experts), _integer("topk", topk))
    if shape[0] < 0 or shape[1] < 1 or shape[2] < 1:
        raise ValueError(
            f"expected tokens >= 0, num_experts >= 1 and topk >= 1, got tokens={tokens}, num_experts={num_experts},"
            f" topk={topk}"
        )
    return shape


def _integer(name: str, value: int) -> int:
    try:
        return operator.index(
            value if hasattr(value, "__index__") else value | 0
        )  # numpy's booleans have only the latter
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__} {value!r:.60}") from None


def _warn_once(sentence: str) -> None:
    """One warning for each cause in this process."""
    mine = object()
    if _warned.setdefault(sentence, mine) is mine:
        import logging  # a fifth of the time that importing this module takes, and mostly there already

        logging.getLogger(LOGGER).warning("%s", sentence)


def _inform(sentence: str) -> None:
    """For who reads the log: where nobody has imported logging, nobody does."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger(LOGGER).info("%s", sentence)
