"""What a launch costs: instructions by class, and cycles by a model that leaves most of a GPU out.

Counts are exact where the emulator is right. Cycles are good for comparing two kernels with each other and are never
to be quoted as measured: they leave out waves competing for a SIMD, LDS bank conflicts, bandwidth, instruction cache
misses, L2 and HBM, clocks, and the time between launches.
"""

import functools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from tests.isa.program import EmulatedLaunch
from tests.isa.waves import Executed, Step, Workgroup

ISSUE_CYCLES = 4
BRANCH_TAKEN_CYCLES = 16
BARRIER_RELEASE_CYCLES = 30
L1_HIT_CYCLES = 130
RESULT_CYCLES = {"lds": 64, "smem": 200, "load": 600, "store": 500, "atomic": 700}
"""From issue until a s_waitcnt lets go, in shader clock cycles; an estimate."""


@dataclass(frozen=True)
class WaveCost:
    """One wave: its instructions by class, and the cycles of each phase (the code between two barriers)."""

    classes: Counter[str]
    phases: tuple[int, ...]


@dataclass(frozen=True)
class LaunchCost:
    """The busiest wave of a launch, and the cycles of the slowest workgroup. waves: how many were run."""

    workgroup: Workgroup
    wave: int
    classes: Counter[str]
    cycles: int
    waves: int

    @property
    def instructions(self) -> int:
        return self.classes.total()


@functools.cache
def classify(name: str) -> str:
    """Return the class of an instruction by its name in lower case. Raise ValueError for one without."""
    if name.startswith("ds_"):
        return "lds"
    if name.startswith(("global_", "flat_", "scratch_", "buffer_load", "buffer_store", "buffer_atomic")):
        return "atomic" if "atomic" in name else "load" if "_load" in name else "store"
    if name.startswith(("s_load", "s_buffer_load", "s_dcache")):
        return "smem"
    if name.startswith(("s_cbranch", "s_branch", "s_setpc", "s_swappc")):
        return "branch"
    special = {"s_barrier": "barrier", "s_waitcnt": "wait", "s_nop": "nop", "s_endpgm": "end"}
    if name in special:
        return special[name]
    for prefix, kind in (("v_", "valu"), ("s_", "salu"), ("buffer_", "cache")):
        if name.startswith(prefix):
            return kind
    raise ValueError(f"instruction {name} has no class")


def compute_launch_cost(launch: EmulatedLaunch) -> LaunchCost:
    """Return the cost of a launch, over all workgroups that were run."""
    known: dict[tuple[Executed, ...], WaveCost] = {}
    slowest, busiest = 0, (0, (0, 0, 0), 0)
    for workgroup, traces in launch.trace.waves.items():
        costs = [_get_cost(launch, trace, known) for trace in traces]
        phases = [max(cost.phases[i] for cost in costs if i < len(cost.phases)) for i in range(_count_phases(costs))]
        slowest = max(slowest, sum(phases) + BARRIER_RELEASE_CYCLES * (len(phases) - 1))
        busiest = max(busiest, *((len(trace), workgroup, wave) for wave, trace in enumerate(traces)))
    _, workgroup, wave = busiest
    classes = known[tuple(launch.trace.waves[workgroup][wave])].classes
    return LaunchCost(workgroup, wave, classes, slowest, sum(map(len, launch.trace.waves.values())))


def _count_phases(costs: Sequence[WaveCost]) -> int:
    return max(len(cost.phases) for cost in costs)


def _get_cost(launch: EmulatedLaunch, trace: list[Executed], known: dict[tuple[Executed, ...], WaveCost]) -> WaveCost:
    """Return the cost of a trace; the model runs once for each sequence, since most waves execute the same."""
    key = tuple(trace)
    if key not in known:
        known[key] = compute_wave_cost(trace, launch.trace.code)
    return known[key]


def compute_wave_cost(trace: Sequence[Executed], code: dict[int, Step]) -> WaveCost:
    """Return instructions by class, and the modelled cycles of one wave that is alone."""
    classes: Counter[str] = Counter()
    phases, now = [], 0
    vector: deque[int] = deque()  # when each operation in flight is ready, oldest first
    local: deque[int] = deque()
    for index, executed in enumerate(trace):
        step = code[executed.address]
        kind = classify(step.name)
        classes[kind] += 1
        now += ISSUE_CYCLES
        if kind == "branch" and index + 1 < len(trace):
            taken = trace[index + 1].address != executed.address + step.instruction.size()
            now += (BRANCH_TAKEN_CYCLES - ISSUE_CYCLES) * taken
        elif kind in {"lds", "smem"}:
            local.append(now + RESULT_CYCLES[kind])
        elif kind in {"load", "store", "atomic"}:
            vector.append(now + (L1_HIT_CYCLES if executed.l1_hit else RESULT_CYCLES[kind]))
        elif kind == "wait":
            vector_left, local_left = _decode_waitcnt(step.instruction.simm16)
            now = max(now, _wait(vector, vector_left), _wait(local, local_left))
        elif kind == "barrier":
            phases.append(now)
            vector = deque(ready - now for ready in vector)
            local = deque(ready - now for ready in local)
            now = 0
    return WaveCost(classes, (*phases, now))


def _decode_waitcnt(operand: int) -> tuple[int, int]:
    """Return (vmcnt, lgkmcnt) of a s_waitcnt of gfx9."""
    return operand & 0xF | operand >> 10 & 0x30, operand >> 8 & 0xF


def _wait(queue: deque[int], left: int) -> int:
    """Take operations off until `left` are in flight; return when the last of them is ready."""
    ready = 0
    while len(queue) > left:
        ready = max(ready, queue.popleft())
    return ready
