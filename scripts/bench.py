"""Prints what the runtime costs a serving process: starting (import and a table of 100 rows) and one decision.

Starting is timed in fresh processes, the interpreter's own start subtracted; both figures are medians.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path

from moesort_tune import runtime

PROCESSES = 15
CALLS = 200_000

HEADER = """schema: 1
arch: gfx942
tables:
- device: {name: made up for this benchmark, compute_units: 304, wavefront_size: 64, lds_bytes: 65536}
  software: {hip: 7.2.53211, driver: 6.16.6, compiler: hiprtc 7.2, moesort_tune: 0.1.0}
  kernels: {provider: builtin, revision: 0123456789abcdef}
  sweep: {date: 2026-11-22, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, routing: uniform, seed: 0}
  rows:
"""
ROW = (
    "  - {{num_experts: {experts}, topk: {topk}, oneshot_max_tokens: 256, policy: [[1, oneshot], [25, multiphase]], "
    "tie: [[19, 24]], evidence: {{points: 14, noise: 0.006, rule_loss: 1.31}}}}\n"
)


def table_of_100_rows(folder: Path) -> Path:
    """A table with invented rows, for timing only."""
    rows = [ROW.format(experts=experts, topk=topk) for experts in range(10, 60) for topk in (2, 4)]
    path = folder / "gfx942.yaml"
    path.write_text(HEADER + "".join(rows))
    return path


def seconds_of(program: str) -> float:
    """Median time of a fresh interpreter that runs `program`."""
    times = []
    for _ in range(PROCESSES):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Times both and prints them."""
    with tempfile.TemporaryDirectory() as folder:
        path = table_of_100_rows(Path(folder))
        load = f"from moesort_tune import runtime; runtime.Dispatcher.load({str(path)!r}, compute_units=304)"
        start_ms = (seconds_of(load) - seconds_of("pass")) * 1e3
        dispatcher = runtime.Dispatcher.load(path, compute_units=304)
        call = "policy(tokens=32, num_experts=32, topk=4)"
        times = timeit.repeat(call, globals={"policy": dispatcher.policy}, number=CALLS, repeat=7)
        policy_ns = statistics.median(times) / CALLS * 1e9
    print(f"import and load of a table of 100 rows: {start_ms:.1f} ms (goal: under 60)")
    print(f"policy() of a shape seen before: {policy_ns:.0f} ns (goal: under 300)")


if __name__ == "__main__":
    main()
