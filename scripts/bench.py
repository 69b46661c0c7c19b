"""Print what the runtime costs a serving process: starting (import and a table of 100 rows) and one decision, by
Python and by the exported C++ header.

Starting is timed in fresh processes, the interpreter's own start subtracted; both figures are medians.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Final

from moesort_tune import runtime

PROCESSES = 15
CALLS = 200_000

HEADER = """schema: 2
arch: gfx942
tables:
- operation: moe_sorting
  device: {name: made up for this benchmark, compute_units: 304, wavefront_size: 64, lds_bytes: 65536}
  software: {hip: 7.2.53211, driver: 6.16.6, compiler: hiprtc 7.2, moesort_tune: 0.1.0}
  kernels: {provider: builtin, revision: 0123456789abcdef}
  sweep: {date: 2026-11-22, timing: graph, unit_size: 32, model_dim: 4096, dtype: bfloat16, routing: uniform, seed: 0}
  evidence: measured
  rows:
"""
ROW = (
    "  - {{num_experts: {experts}, topk: {topk}, limits: {{oneshot: 256}}, policy: [[1, oneshot], [25, multiphase]], "
    "tie: [[19, 24, [oneshot, multiphase]]], evidence: {{points: 14, noise: 0.006, rule_loss: 1.31}}}}\n"
)


def write_table_of_100_rows(folder: Path) -> Path:
    """Return a table with invented rows, for timing only."""
    rows = [ROW.format(experts=experts, topk=topk) for experts in range(10, 60) for topk in (2, 4)]
    path = folder / "gfx942.yaml"
    path.write_text(HEADER + "".join(rows))
    return path


def measure_seconds(program: str) -> float:
    """Return the median time of a fresh interpreter that runs `program`."""
    times = []
    for _ in range(PROCESSES):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


ASKED: Final = """
#include "policy.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>

[[gnu::noinline]] static int nothing(int tokens, int experts, int topk, int units) {
  return tokens ^ experts ^ topk ^ units;
}
[[gnu::noinline]] static int decided(int tokens, int experts, int topk, int units) {
  return moesort_policy(tokens, experts, topk, units);
}

template <typename Function>
static double ns_of(Function function, int first_experts, int step) {
  double best = 1e9;
  static volatile int sink;
  for (int repeat = 0; repeat < 7; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    int sum = 0;
    for (int i = 0; i < 1000000; ++i) sum += function(i & 511, first_experts + (i % 8) * step, 4, 304);
    sink = sum;
    const std::chrono::duration<double, std::nano> lasted = std::chrono::steady_clock::now() - started;
    best = lasted.count() / 1e6 < best ? lasted.count() / 1e6 : best;
  }
  return best;
}

int main(int, char** argv) {
  const int first = std::atoi(argv[1]), step = std::atoi(argv[2]);
  std::printf("%.1f", ns_of(decided, first, step) - ns_of(nothing, first, step));
}
"""
"""Print the nanoseconds of a call for eight numbers of experts in turn, the loop and a call of nothing subtracted."""


def measure_cpp_ns(path: Path, first_experts: int, step: int) -> str:
    """Return the nanoseconds of a call of the exported header."""
    header = [sys.executable, "-m", "moesort_tune", "export", str(path), "--format", "cpp"]
    (path.parent / "policy.h").write_bytes(subprocess.run(header, check=True, capture_output=True).stdout)
    (path.parent / "ask.cpp").write_text(ASKED)
    program = path.parent / "ask"
    subprocess.run(["c++", "-std=c++17", "-O2", path.parent / "ask.cpp", "-o", program], check=True)
    asked = subprocess.run([program, str(first_experts), str(step)], check=True, capture_output=True, text=True)
    return asked.stdout


def main() -> None:
    """Measure everything and print it."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_table_of_100_rows(Path(folder))
        load = f"from moesort_tune import runtime; runtime.Dispatcher.load({str(path)!r}, compute_units=304)"
        start_ms = (measure_seconds(load) - measure_seconds("pass")) * 1e3
        dispatcher = runtime.Dispatcher.load(path, compute_units=304)
        call = "policy(tokens=32, num_experts=32, topk=4)"
        times = timeit.repeat(call, globals={"policy": dispatcher.policy}, number=CALLS, repeat=7)
        policy_ns = statistics.median(times) / CALLS * 1e9
        known_ns, between_ns = measure_cpp_ns(path, 32, 1), measure_cpp_ns(path, 60, 10)
    print(f"import and load of a table of 100 rows: {start_ms:.1f} ms (goal: under 60)")
    print(f"policy() of a shape seen before: {policy_ns:.0f} ns (goal: under 300)")
    print(f"exported C++: {known_ns} ns for shapes with a row, {between_ns} ns for others (goal: under 20)")


if __name__ == "__main__":
    main()
