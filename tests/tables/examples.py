"""Tables to test with; none of the figures was measured."""

import datetime
from collections.abc import Iterable
from typing import Any, Final

from moesort_tune.domain.vocabulary import ALIGN
from moesort_tune.tables.schema import SCHEMA, Device, Entry, Evidence, Kernels, Row, Sweep, Table

EXAMPLE = """\
schema: 2
arch: gfx942
tables:                      # one per device variant
- operation: moe_sorting
  device: {name: AMD Instinct MI300X, compute_units: 304, wavefront_size: 64, lds_bytes: 65536}
  software: {hip: 7.2.53211, driver: 6.16.6, compiler: hiprtc 7.2, moesort_tune: 0.1.0}
  kernels: {provider: builtin, revision: 5c1e0f}
  sweep: {date: 2026-11-22, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, routing: uniform, seed: 0}
  evidence: measured
  rows:
  - {num_experts: 128, topk: 4, limits: {oneshot: 1024}, policy: [[1, oneshot], [25, multiphase]], tie: [[19, 24, [oneshot, multiphase]]], evidence: {points: 14, noise: 0.006, rule_loss: 1.31}}
"""  # noqa: E501 - a line a row, as tables are written

EXAMPLE_1 = """\
schema: 1
arch: gfx942
tables:                      # one per device variant
- device: {name: AMD Instinct MI300X, compute_units: 304, wavefront_size: 64, lds_bytes: 65536}
  software: {hip: 7.2.53211, driver: 6.16.6, compiler: hiprtc 7.2, moesort_tune: 0.1.0}
  kernels: {provider: builtin, revision: 5c1e0f}
  sweep: {date: 2026-11-22, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, routing: uniform, seed: 0}
  rows:
  - {num_experts: 128, topk: 4, oneshot_max_tokens: 1024, policy: [[1, oneshot], [25, multiphase]], tie: [[19, 24]], evidence: {points: 14, noise: 0.006, rule_loss: 1.31}}
"""  # noqa: E501 - a line a row, as tables are written


BOTH: Final = ("oneshot", "multiphase")
"""Kernels of a tie."""


def row(num_experts: int = 128, topk: int = 4, switch: int | None = 25, **changes: Any) -> Row:
    """Return a row with one switch, or one that is always oneshot where `switch` is None."""
    policy: tuple[Any, ...] = ((1, "oneshot"),) if switch is None else ((1, "oneshot"), (switch, "multiphase"))
    values: dict[str, Any] = {
        "num_experts": num_experts,
        "topk": topk,
        "limits": {"oneshot": 1024},
        "policy": policy,
        "evidence": Evidence(points=14, noise=0.006, rule_loss=1.31, tokens=(1, 16384)),
    }
    return Row(**(values | changes))


def sweep(**changes: Any) -> Sweep:
    """Return the settings of a sweep, by default those of the command line."""
    values: dict[str, Any] = {
        "date": datetime.date(2026, 11, 22),
        "timing": "graph",
        "unit_size": 32,
        "model_dim": 4096,
        "dtype": "bfloat16",
        "routing": "uniform",
        "seed": 0,
        "masked": changes.get("ep", 1) > 1,
    }
    return Sweep(**(values | changes))


def device(**changes: Any) -> Device:
    """Return an MI300X."""
    values: dict[str, Any] = {
        "name": "AMD Instinct MI300X",
        "compute_units": 304,
        "wavefront_size": 64,
        "lds_bytes": 65536,
    }
    return Device(**(values | changes))


def entry(rows: Iterable[Row] = (), **changes: Any) -> Entry:
    """Return an entry of the builtin kernels, by default with one row."""
    values: dict[str, Any] = {
        "device": device(),
        "software": {"hip": "7.2.53211", "moesort_tune": "0.1.0"},
        "kernels": Kernels(provider="builtin", revision="5c1e0f"),
        "sweep": sweep(),
        "rows": tuple(rows) or (row(),),
    }
    return Entry(**(values | changes))


def align_entry(rows: Iterable[Row] = (), **changes: Any) -> Entry:
    """Return an entry of the builtin kernels in the align form, which have no condition but this one."""
    values: dict[str, Any] = {
        "kernels": Kernels(provider="align", revision="a11f0e"),
        "operation": ALIGN,
        "sweep": sweep(moe_buf=False),
    }
    return entry(rows, **(values | changes))


def make_published_entry(rows: Iterable[Row] = (), **changes: Any) -> Entry:
    """Return an entry of figures that others published, for AITER's kernels."""
    sourced = tuple(rows) or (row(evidence=Evidence(source="a pull request")),)
    kernels = Kernels(provider="aiter")
    return entry(sourced, **({"kernels": kernels, "sweep": None, "software": {}, "evidence": "published"} | changes))


def table(*entries: Entry, arch: str = "gfx942") -> Table:
    """Return a table of these entries, by default of one."""
    return Table(schema=SCHEMA, arch=arch, tables=entries or (entry(),))
