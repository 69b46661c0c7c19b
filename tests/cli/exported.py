"""Compile an exported header, and facts of three invented kernels to export."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from moesort_tune.domain.candidates import Limits, Steps
from moesort_tune.domain.device import DeviceLimits
from moesort_tune.domain.vocabulary import MAX_TOKENS, Candidate, Condition

COMPILER = shutil.which("g++") or "c++"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-pedantic", "-O1")


def compile_program(folder: Path, header: str, source: str) -> Path:
    """Return `source` compiled with the exported header."""
    (folder / "policy.h").write_text(header)
    (folder / "ask.cpp").write_text(source)
    binary = folder / "ask"
    done = subprocess.run(
        [COMPILER, *STRICT, folder / "ask.cpp", "-o", binary], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return binary


class ThreeKernels:
    """Facts of three invented kernels, whose limits and rule depend on every argument."""

    name = "invented"
    label = "invented"
    candidates: tuple[Candidate, ...] = (Candidate("wave", 3), Candidate("oneshot", 1), Candidate("multiphase", 7))
    rule_name = "the invented rule"
    opening_note = ""
    decides_itself = False
    limits_cpp = """\
constexpr int max_tokens(int candidate, int num_experts, int topk, int lds_bytes, int wavefront_size) {
  if (candidate == 0) return num_experts > 16 * wavefront_size ? -1 : 8 * wavefront_size / topk;
  return candidate == 1 ? lds_bytes / num_experts / 4 : 16777215;
}
"""

    def limits(self, num_experts: int, topk: int, device: DeviceLimits) -> Limits:
        """Return limits by wave size and LDS, one of them below 0."""
        wave = -1 if num_experts > 16 * device.wavefront_size else 8 * device.wavefront_size // topk
        return {"wave": wave, "oneshot": device.lds_bytes // num_experts // 4, "multiphase": MAX_TOKENS}

    def rule(self, num_experts: int, topk: int, device: DeviceLimits, condition: Condition) -> Steps:
        """Return wave, oneshot, multiphase in turn, or with an even topk two of them the other way round."""
        del device
        if topk % 2 == 0:
            return ((1, "multiphase"), (200, "wave"))
        later = 150 + 100 * condition.masked + num_experts % 50
        return ((1, "wave"), (30 + 10 * condition.moe_buf, "oneshot"), (later, "multiphase"))

    def rule_cpp(self, arch: str) -> str:
        """Return the same in C++."""
        del arch
        return """\
constexpr int rule(int tokens, int num_experts, int topk, bool moe_buf, bool masked) {
  if (topk % 2 == 0) return tokens < 200 ? 2 : 0;
  if (tokens < (moe_buf ? 40 : 30)) return 0;
  return tokens < 150 + (masked ? 100 : 0) + num_experts % 50 ? 1 : 2;
}
"""

    def landmarks(self, num_experts: int, topk: int, device: DeviceLimits, first: int, last: int) -> Sequence[int]:
        """Return none."""
        del num_experts, topk, device, first, last
        return ()
