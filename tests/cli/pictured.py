"""A table with samples for pictures and pages; none of the times was measured."""

from pathlib import Path
from typing import Any

from moesort_tune.domain.settings import Settings
from moesort_tune.sweep.samples import Sample, append_samples, get_samples_path
from moesort_tune.tables import store
from moesort_tune.tables.schema import Evidence, Row
from tests.tables.examples import entry, row, table


def make_sample(tokens: int, kernel: str, median_us: float, **changes: Any) -> Sample:
    """Return a sample of the example's row."""
    values: dict[str, Any] = {
        "date": "2026-11-22",
        "arch": "gfx942",
        "compute_units": 304,
        "provider": "builtin",
        "revision": "5c1e0f",
        "timing": "graph",
        "num_experts": 128,
        "topk": 4,
        "tokens": tokens,
        "kernel": kernel,
        "median_us": median_us,
        "low_us": median_us - 0.1,
        "high_us": median_us + 0.1,
        "samples": 8,
        "note": "",
        "settings": Settings().format_signature() + ";margin=0.02",
        "verdict": kernel,
        "noise": 0.006,
    }
    return Sample(**(values | changes))


def make_row(num_experts: int, **changes: Any) -> Row:
    """Return a row of wave, oneshot and multiphase, with a tie before the last switch."""
    evidence = Evidence(points=5, noise=0.004, rule_loss=1.5, tokens=(1, 256))
    values: dict[str, Any] = {
        "limits": {"wave": 32, "oneshot": 9568},
        "policy": ((1, "wave"), (5, "oneshot"), (100, "multiphase")),
        "tie": ((65, 99, ("oneshot", "multiphase")),),
        "evidence": evidence,
    }
    return row(num_experts, 4, None, **(values | changes))


TIMES_US = {
    "wave": {1: 2.0, 4: 2.0, 16: 6.0},
    "oneshot": {1: 3.0, 4: 3.0, 16: 4.0, 64: 5.0, 256: 12.0},
    "multiphase": {1: 6.0, 4: 6.0, 16: 6.0, 64: 7.5, 256: 8.0},
}
"""By kernel and tokens; AITER's rule for 128 experts takes oneshot up to 56 tokens, which costs most at 64."""


def write_pictured_table(path: Path, *experts: int, **changes: Any) -> None:
    """Write a table with a row for each number of `experts`, and its samples. changes: of the entry."""
    written = table(entry([make_row(number) for number in experts], **changes))
    store.save(path, written)
    device = written.tables[0].device.name
    software = ";".join(f"{name}={version}" for name, version in sorted(written.tables[0].software.items()))
    append_samples(
        get_samples_path(path),
        [
            make_sample(tokens, kernel, time_us, num_experts=number, device=device, software=software)
            for number in experts
            for kernel, times in TIMES_US.items()
            for tokens, time_us in times.items()
        ],
    )
