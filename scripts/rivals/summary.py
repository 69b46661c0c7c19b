"""Ratios of one shape, and what they come to over all shapes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WITH_BUFFER = "+buf"
"""Ending of the name of a kernel that was timed with moe_buf."""

VLLM = "vllm"
STABLE = "vllm-stable"
MEMSET = "memset"


@dataclass(frozen=True)
class Ratio:
    """One comparison. title: heading of its column; meaning: its line in the summary."""

    title: str
    meaning: str


OVER_VLLM_AND_MEMSET = Ratio("buf/vllm", "our best with moe_buf over vLLM's usual path + memset")
OVER_VLLM = Ratio("/vllm", "our best without moe_buf over the faster of vLLM's two paths")
OVER_FASTEST = Ratio("/fastest", "our best without moe_buf over the fastest rival")
RATIOS = (OVER_VLLM_AND_MEMSET, OVER_VLLM, OVER_FASTEST)


def compute_ratios(times: Mapping[str, float], kernels: Iterable[str], rivals: Iterable[str]) -> dict[str, float]:
    """Return {title: ratio}, without those whose rival is not in this run. times: microseconds by name."""
    kernels = tuple(kernels)
    best = min(times[name] for name in kernels if name in times)
    best_with_buffer = min(times[name + WITH_BUFFER] for name in kernels if name + WITH_BUFFER in times)
    ratios = {}
    if VLLM in times:
        ratios[OVER_VLLM_AND_MEMSET.title] = best_with_buffer / (times[VLLM] + times[MEMSET])
        ratios[OVER_VLLM.title] = best / min(times[name] for name in (VLLM, STABLE) if name in times)
    others = [times[name] for name in rivals if name in times]
    if others:
        ratios[OVER_FASTEST.title] = best / min(others)
    return ratios


def compute_geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of at least one value."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


@dataclass
class Summary:
    """All shapes' ratios, and each column's ratio to the fastest of ours."""

    _ratios: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    _columns: dict[str, list[float]] = field(default_factory=dict)

    def add(self, shape: str, ratios: Mapping[str, float], columns: Mapping[str, float]) -> None:
        """Record one shape. columns: {name: its time over our best without moe_buf}."""
        for title, ratio in ratios.items():
            self._ratios.setdefault(title, []).append((ratio, shape))
        for name, ratio in columns.items():
            self._columns.setdefault(name, []).append(ratio)

    def format_lines(self) -> list[str]:
        """Return a line for each ratio and each column."""
        lines = []
        for ratio in RATIOS:
            found = self._ratios.get(ratio.title)
            if found:
                mean = compute_geometric_mean(value for value, _ in found)
                worst, shape = max(found)
                lines.append(
                    f"{ratio.meaning}: geometric mean {mean:.3f}, worst {worst:.3f} ({shape}), {len(found)} shapes"
                )
        for name, values in self._columns.items():
            mean = compute_geometric_mean(values)
            lines.append(f"  {name}: {mean:.2f} times our best without moe_buf, geometric mean of {len(values)} shapes")
        return lines
