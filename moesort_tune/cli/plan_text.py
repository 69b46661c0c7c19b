"""Print what a sweep would measure: `sweep --dry-run`."""

from typing import Any

from moesort_tune.cli.duration import format_seconds
from moesort_tune.cli.output import print_json, print_remark, print_result
from moesort_tune.cli.table_text import format_count
from moesort_tune.domain.vocabulary import MAX_TOKENS
from moesort_tune.sweep.job import SweepJob
from moesort_tune.sweep.planning import POINT_SECONDS, KindPlan, PlannedRow, plan_kinds
from moesort_tune.sweep.rows import select_limited


def print_plan(job: SweepJob, as_json: bool) -> None:
    """Print the rows that a sweep would measure, and how long they take about on the cards at hand."""
    plans = plan_kinds(job, print_remark)
    if as_json:
        data = [_build_data(job, plan) for plan in plans]
        print_json(data[0] if job.fleet.is_one_device else data)
        return
    for arch, plan in {plan.arch: plan for plan in plans}.items():
        for provider in job.providers:
            print_result(f"{arch}, kernels {provider}, {job.settings.timing} timing -> {job.locate_table(arch)}")
            _print_rows([row for row in plan.rows if row.provider == provider])
    for plan in plans:
        print_result(_format_time(job, plan))


def _build_data(job: SweepJob, plan: KindPlan) -> dict[str, Any]:
    rows = [
        {
            "kernels": row.provider,
            "num_experts": row.key.shape.num_experts,
            "topk": row.key.shape.topk,
            **row.key.condition._asdict(),
            "limits": select_limited(row.limits),
            "ladder": row.ladder,
            "in_table": row.there,
        }
        for row in plan.rows
    ]
    cards = {} if job.fleet.is_one_device else {"kind": plan.kind, "cards": list(plan.cards)}
    table = str(job.locate_table(plan.arch))
    return {"arch": plan.arch, "table": table, **cards, "estimated_seconds": round(plan.seconds, 1), "rows": rows}


def _format_time(job: SweepJob, plan: KindPlan) -> str:
    """Return the time and what it rests on: '4 compute units: about 12 s on 2 cards (node 0000:01:00, ...)'."""
    budget = job.plan(plan.arch).time_budget_s
    if budget is not None and plan.seconds >= budget * len(job.providers):
        reason = "the time budget"
    elif plan.arch == "host":
        reason = f"at {job.rule.max_seconds:g} s a token count, which is the limit"
    else:
        reason = f"at {POINT_SECONDS:g} s a token count, as an H100 took"
    kind = f"{plan.kind}: " if plan.kind else ""
    cards = f" on {format_count(len(plan.cards), 'card', 'cards')} ({', '.join(plan.cards)})" if plan.cards else ""
    return f"{kind}about {format_seconds(plan.seconds)}{cards}, {reason}"


def _print_rows(rows: list[PlannedRow]) -> None:
    """Print the rows of one provider. The last kernel has no limit, so it has no column."""
    limited = list(rows[0].limits)[:-1]
    headings = [f"{kernel} to" for kernel in limited]
    ladder = "token counts measured first, then halved between changes of the winner"
    width = max(len(text) for text in ("experts/topk", *(str(row.key) for row in rows)))
    print_result(_format_plan_line("experts/topk".rjust(width), headings, ladder))
    for row in rows:
        limits = [_format_limit(row.limits[kernel]) for kernel in limited]
        print_result(_format_plan_line(str(row.key).rjust(width), limits, " ".join(map(str, row.ladder))))
        if row.there:
            print_result(f"{'':>{width}}  in the table: {row.there}")


def _format_plan_line(row: str, limits: list[str], ladder: str) -> str:
    return "  ".join((row, *(f"{limit:>10}" for limit in limits), ladder))


def _format_limit(limit: int) -> str:
    if limit >= MAX_TOKENS:
        return "any"
    return str(limit) if limit > 0 else "never"
