"""Steps the waves of a launch, and records every instruction that each of them executes.

Waves of a workgroup run one after another between barriers, workgroups one after another; LDS is full of junk before
each workgroup. Every access past the LDS asked for, or to global memory outside every allocation, is an error.
"""

import ctypes
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tests.isa import dpp, tinygrad_emulator
from tests.isa.memory import GlobalMemory, MemoryFaultError
from tests.isa.tinygrad_emulator import MAX_LDS_BYTES, STAGING_REGISTER, WAVE_LANES

LDS_JUNK = 0x5EADBEEF
FIRST_VGPR = 256
"""Operand numbers below this are scalar registers and constants."""

NO_SCALAR_BASE = 127
LINE_SHIFT = 7
"""128-byte lines of the vector L1."""

INSTRUCTION_LIMIT = 4_000_000
"""Of one wave; more means that it never ends."""

Order = Literal["forward", "backward", "shuffled"]
"""shuffled: waves that are not at a barrier run a few instructions at a time, any of them next."""

ORDERS: tuple[Order, ...] = ("forward", "backward", "shuffled")
SEED = 0
MOST_AT_A_TIME = 64
"""Instructions of a shuffled wave before another one may run."""

Item = TypeVar("Item")
Workgroup = tuple[int, int, int]
Kind = Literal["plain", "dpp", "lds", "global", "buffer", "barrier"]
"""How an instruction is stepped."""


class Step(NamedTuple):
    """One decoded instruction. access_bytes: of one lane's access to LDS, global memory or a buffer."""

    function: Callable[..., None]
    uses: tuple[int, ...]
    kind: Kind
    instruction: Any
    access_bytes: int

    @property
    def name(self) -> str:
        name: str = self.instruction.op.name
        return name.lower()


class Executed(NamedTuple):
    """One executed instruction. l1_hit: a global load that found every line fetched before by its workgroup."""

    address: int
    l1_hit: bool


@dataclass
class LaunchTrace:
    """What every wave of the workgroups that were run has executed, and the instructions by address."""

    waves: dict[Workgroup, list[list[Executed]]]
    code: dict[int, Step]


@dataclass(frozen=True)
class Geometry:
    """A launch as the hardware receives it. user_sgprs: initial scalar registers; scratch_bytes: of a lane."""

    entry: int
    grid: Workgroup
    block: Workgroup
    rsrc2: int
    user_sgprs: Sequence[int]
    lds_bytes: int
    scratch_bytes: int

    @property
    def threads(self) -> int:
        return self.block[0] * self.block[1] * self.block[2]

    def workgroups(self) -> Iterator[Workgroup]:
        width, height, depth = self.grid
        return ((x, y, z) for z in range(depth) for y in range(height) for x in range(width))


class Code(dict[int, Step]):
    """Decoded and compiled instructions by address, filled as execution reaches them."""

    def __missing__(self, address: int) -> Step:
        emulator = tinygrad_emulator.load()
        (program, runtime), instruction = emulator._decode_at(address, "cdna")
        kind = _kind(emulator, instruction)
        access_bytes = _access_bytes(instruction.op.name) if kind in {"lds", "global", "buffer"} else 0
        self[address] = step = Step(runtime.fxn, tuple(program.arg.globals), kind, instruction, access_bytes)
        return step


def _kind(emulator: Any, instruction: Any) -> Kind:
    if isinstance(instruction, emulator.irc.SOPP) and instruction.op in emulator._BARRIER_OPS:
        return "barrier"
    if isinstance(instruction, (emulator.irc.VOP1_DPP16, emulator.irc.VOP2_DPP16)):
        return "dpp"
    if isinstance(instruction, emulator.irc.DS) and "PERMUTE" not in instruction.op.name:
        return "lds"
    if isinstance(instruction, emulator.irc.MUBUF):
        return "buffer"
    return "global" if isinstance(instruction, (emulator.irc.GLOBAL, emulator.irc.FLAT)) else "plain"


@functools.cache
def _access_bytes(name: str) -> int:
    """Return the bytes at a lane's address: 16 for GLOBAL_STORE_DWORDX4, 8 for GLOBAL_ATOMIC_ADD_X2, 4 for DS_READ2."""
    bits = re.search(r"_[BUIF](\d+)", name)
    if name.startswith("DS_") and bits:
        return int(bits[1]) // 8
    words = re.search(r"DWORDX(\d)", name)
    if words:
        return 4 * int(words[1])
    return 1 if "BYTE" in name else 2 if "SHORT" in name else 8 if name.endswith("_X2") else 4


@dataclass
class Wave:
    """One wavefront: its registers as arrays, what it has executed, and how to step it."""

    state: Any
    lds_bytes: int
    lds: npt.NDArray[np.uint32]
    scratch: npt.NDArray[np.uint8]
    trace: list[Executed] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        emulator = tinygrad_emulator.load()
        self._end, self._exec = emulator.ENDPGM_PC, emulator.EXEC_LO.offset
        self.sgpr = np.frombuffer(self.state._sgpr_mv, np.uint32)
        self.vgpr = np.frombuffer(self.state._vgpr_mv, np.uint32).reshape(256, WAVE_LANES)
        agpr = self.state.accvgpr_buf.as_memoryview(force_zero_copy=True)
        self.agpr = np.frombuffer(agpr, np.uint32).reshape(256, WAVE_LANES)
        self._address = self.sgpr[emulator.PC_LO_IDX : emulator.PC_LO_IDX + 2].data.cast("B").cast("Q")
        arrays = (self.sgpr, self.vgpr, None, self.lds, self.scratch, self.agpr)
        self._buffers = [ctypes.c_uint64(0 if array is None else array.ctypes.data) for array in arrays]
        self._arguments: dict[tuple[int, ...], list[ctypes.c_uint64]] = {}

    def run(self, code: Code, memory: GlobalMemory, lines: set[int], most: int) -> bool:
        """Execute at most so many instructions, up to the next barrier or the end; return whether it was reached.

        lines: those in L1, added to.
        """
        last = len(self.trace) + most
        while self._address[0] != self._end:
            if len(self.trace) == last:
                return False
            step = code[self._address[0]]
            l1_hit = step.kind == "global" and self._note_access(step, memory, lines)
            self.trace.append(Executed(self._address[0], l1_hit))
            if len(self.trace) > INSTRUCTION_LIMIT:
                raise RuntimeError(f"a wave executed more than {INSTRUCTION_LIMIT} instructions")
            arguments = self._arguments.get(step.uses)
            if arguments is None:
                arguments = self._arguments[step.uses] = [self._buffers[use] for use in step.uses]
            if step.kind == "dpp":
                self._run_dpp(step, arguments)
            elif step.kind == "lds":
                self._run_lds(step, arguments)
            elif step.kind == "buffer":
                self._run_buffer(step, arguments)
            else:
                step.function(*arguments)
            if step.kind == "barrier":
                return True
        self.done = True
        return True

    def _pair(self, register: int) -> int:
        return int(self.sgpr[register]) | int(self.sgpr[register + 1]) << 32

    def _set_exec(self, mask: int) -> None:
        self.sgpr[self._exec], self.sgpr[self._exec + 1] = mask & 0xFFFFFFFF, mask >> 32

    def _run_dpp(self, step: Step, arguments: list[ctypes.c_uint64]) -> None:
        """A lane whose source does not exist or is inactive reads 0 with bound_ctrl and is left out without it."""
        instruction = step.instruction
        source, exists, enabled = dpp.route(instruction.dpp, instruction.row_mask, instruction.bank_mask)
        active = self._pair(self._exec)
        readable = exists & dpp.unpack_mask(active)[source]
        saved = self.agpr[STAGING_REGISTER].copy()
        operand = self.vgpr[instruction.vsrc0.offset % FIRST_VGPR]
        self.agpr[STAGING_REGISTER] = np.where(readable, operand[source], 0)
        self._set_exec(active & dpp.pack_lanes(enabled if instruction.bc else enabled & readable))
        step.function(*arguments)
        self._set_exec(active)
        self.agpr[STAGING_REGISTER] = saved

    def _run_lds(self, step: Step, arguments: list[ctypes.c_uint64]) -> None:
        """Check the addresses; those of inactive lanes may be anything, and the emulator would read there."""
        active = dpp.unpack_mask(self._pair(self._exec))
        addresses = self.vgpr[step.instruction.addr.offset - FIRST_VGPR]
        for offset in _lds_offsets(step):
            ends = addresses[active].astype(np.int64) + offset + step.access_bytes
            if (ends > self.lds_bytes).any():
                raise MemoryFaultError(f"{step.name} touches byte {ends.max() - 1} of {self.lds_bytes} bytes of LDS")
        inactive = addresses[~active].copy()
        addresses[~active] = 0
        step.function(*arguments)
        addresses[~active] = inactive

    def _run_buffer(self, step: Step, arguments: list[ctypes.c_uint64]) -> None:
        """Leave out the lanes that hardware drops: those that end past num_records; the emulator looks at the begin.

        The addresses themselves are not checked: this project's kernels have no such instructions.
        """
        instruction, active = step.instruction, self._pair(self._exec)
        if instruction.offen:
            offsets = self.vgpr[instruction.vaddr.offset - FIRST_VGPR].astype(np.int64) + int(instruction.offset)
            inside = offsets + step.access_bytes <= int(self.sgpr[instruction.srsrc.offset + 2])
            if "load" in step.name and not inside[dpp.unpack_mask(active)].all():
                raise NotImplementedError(f"{step.name} past the end of its buffer, which returns 0 there")
            self._set_exec(active & dpp.pack_lanes(inside))
        step.function(*arguments)
        self._set_exec(active)

    def _note_access(self, step: Step, memory: GlobalMemory, lines: set[int]) -> bool:
        """Check the addresses of a global access; for a load, whether it finds every line that it touches."""
        active = dpp.unpack_mask(self._pair(self._exec))
        if not active.any():
            return False
        addresses = self._addresses(step.instruction)[active]
        memory.check(addresses, step.access_bytes, step.name)
        if "atomic" in step.name and not active.all():
            raise NotImplementedError(f"{step.name} with inactive lanes: the emulator reads at their addresses")
        if "load" not in step.name:
            return False
        touched = set((addresses >> LINE_SHIFT).tolist())
        hit = touched <= lines
        lines |= touched
        return hit

    def _addresses(self, instruction: Any) -> npt.NDArray[np.int64]:
        low = instruction.addr.offset - FIRST_VGPR
        address: npt.NDArray[np.int64] = self.vgpr[low].astype(np.int64)
        flat = isinstance(instruction, tinygrad_emulator.load().irc.FLAT)
        if flat or instruction.saddr.offset == NO_SCALAR_BASE:
            address = address | self.vgpr[low + 1].astype(np.int64) << 32
        else:
            address = address + self._pair(instruction.saddr.offset)
        # 12 bits without a sign in flat accesses, 13 bits with one in the others.
        field = int(instruction.offset)
        return address + (field & 0xFFF if flat else (field & 0x1FFF ^ 0x1000) - 0x1000)


def _lds_offsets(step: Step) -> tuple[int, ...]:
    """Return the byte offsets of a LDS access: two for DS_READ2 and DS_WRITE2, else one of 16 bits."""
    first, second = int(step.instruction.offset0), int(step.instruction.offset1)
    if not step.name.startswith(("ds_read2", "ds_write2")):
        return (first | second << 8,)
    scale = step.access_bytes * (64 if "st64" in step.name else 1)
    return first * scale, second * scale


def run(
    geometry: Geometry,
    memory: GlobalMemory,
    *,
    order: Order = "forward",
    only: Sequence[Workgroup] | None = None,
) -> LaunchTrace:
    """Run the workgroups of a launch (all, or `only` these).

    order: in which workgroups run, and waves between barriers; results must not depend on it.
    """
    lds = np.empty(MAX_LDS_BYTES // 4, np.uint32)
    scratch = np.zeros(max(geometry.scratch_bytes * WAVE_LANES, 4), np.uint8)
    workgroups = list(geometry.workgroups() if only is None else only)
    trace = LaunchTrace({}, code := Code())
    with tinygrad_emulator.load()._MXCSRContext():
        random = Random(SEED)
        for workgroup in _arrange(workgroups, order, random):
            lds[:] = LDS_JUNK
            waves = [
                _wave(geometry, workgroup, first, lds, scratch) for first in range(0, geometry.threads, WAVE_LANES)
            ]
            _run_workgroup(_arrange(waves, order, random), code, memory, random if order == "shuffled" else None)
            trace.waves[workgroup] = [wave.trace for wave in waves]
    return trace


def _arrange(items: list[Item], order: Order, random: Random) -> list[Item]:
    if order == "shuffled":
        return random.sample(items, len(items))
    return items if order == "forward" else items[::-1]


def _run_workgroup(waves: list[Wave], code: Code, memory: GlobalMemory, random: Random | None) -> None:
    """Run all waves to each barrier, one after another, or with `random` a few instructions of any one at a time."""
    lines: set[int] = set()
    while not all(wave.done for wave in waves):
        running = [wave for wave in waves if not wave.done]
        while running:
            wave = random.choice(running) if random else running[0]
            if wave.run(code, memory, lines, random.randint(1, MOST_AT_A_TIME) if random else INSTRUCTION_LIMIT + 1):
                running.remove(wave)


def _wave(
    geometry: Geometry,
    workgroup: Workgroup,
    first_thread: int,
    lds: npt.NDArray[np.uint32],
    scratch: npt.NDArray[np.uint8],
) -> Wave:
    state = tinygrad_emulator.load()._init_wave(
        geometry.entry,
        first_thread,
        geometry.threads,
        *geometry.block,
        0,
        geometry.rsrc2,
        geometry.scratch_bytes,
        "cdna",
        *workgroup,
        list(geometry.user_sgprs) or [0],
        WAVE_LANES,
    )
    return Wave(state, geometry.lds_bytes, lds, scratch)
