"""Hold what a verification found, and say what exceeds a limit."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from moesort_tune.domain.shape import Shape
from moesort_tune.sweep.worker.messages import DeviceFacts
from moesort_tune.tables.schema import Range, Row
from moesort_tune.verify.conditions import AS_SWEPT, OTHER_SHAPES, RegretLimit
from moesort_tune.verify.verification import SettingReport


@dataclass(frozen=True)
class Skew:
    """The points under routings that are not uniform, and those where the regret of the table exceeds the margin."""

    routings: tuple[str, ...]
    points: int
    above_margin: int
    worst: float


@dataclass(frozen=True)
class VerifyResult:
    """The device, and a report for each setting, those under the sweep's own settings first.

    swept: the rows of the entry in use, which say what they rest on.
    failed: shapes that are not in all of the reports, since their kernels crashed or never ended, with the reason.
    """

    facts: DeviceFacts
    swept: tuple[Row, ...]
    reports: list[SettingReport]
    failed: dict[Shape, str]
    margin: float

    @property
    def skew(self) -> Skew | None:
        """Whether skewed routing asks for a table of its own; None where none was measured."""
        skewed = [report for report in self.reports if report.skewed]
        if not skewed:
            return None
        return Skew(
            tuple(report.setting for report in skewed),
            sum(len(report.points) for report in skewed),
            sum(report.above_margin for report in skewed),
            max(report.regret.worst_settled for report in skewed),
        )

    def find_fault(self, limit: RegretLimit) -> str | None:
        """Return what exceeds a limit, None where nothing does.

        Of the table as a whole: the worst settled regret where it was swept, and the mean of shapes without a row.
        """
        if limit.name is not None:
            report = next((report for report in self.reports if report.setting == limit.name), None)
            return f"nothing was measured for {limit.name}" if report is None else _find_excess(report, limit)
        for report in self.reports:
            if report.swept:
                fault = _find_excess(report, limit)
            elif report.setting == OTHER_SHAPES:
                fault = _find_excess(report, replace(limit, statistic="mean"))
            else:
                fault = None
            if fault:
                return fault
        return None


def _find_excess(report: SettingReport, limit: RegretLimit) -> str | None:
    regret = report.regret
    found = {"mean": regret.mean, "p90": regret.p90, "worst": regret.worst_settled}[limit.statistic]
    if found <= limit.limit:
        return None
    who = "the table's" if report.decider == "table" else "the rule's"
    where = "" if report.setting == AS_SWEPT else f" ({report.setting})"
    if limit.statistic == "worst":
        return f"{who} regret reaches {found:.3f}{where} (worst at {regret.worst_at}), above the limit of {limit.limit}"
    on = f" on {report.setting}" if report.setting == OTHER_SHAPES else where
    return f"{who} {limit.statistic} regret{on} is {found:.3f}, above the limit of {limit.limit}"


def format_swept(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the points that rows rest on, '1 to 64 tokens (14 measured): 128/4', the shapes of one range together."""
    of_range: dict[Range, list[Row]] = {}
    for row in rows:
        of_range.setdefault(row.swept_range, []).append(row)
    for (first, last), alike in of_range.items():
        points = sorted({row.evidence.points or 0 for row in alike})
        counts = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
        tokens = f"{first}" if first == last else f"{first} to {last}"
        shapes = ", ".join(f"{row.num_experts}/{row.topk}" for row in alike)
        yield f"{tokens} tokens ({counts} measured): {shapes}"
