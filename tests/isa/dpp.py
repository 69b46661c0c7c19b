"""Where each lane of a wave takes its operand from in a DPP instruction (CDNA 3 instruction set guide, 12.14)."""

import functools

import numpy as np
import numpy.typing as npt

from tests.isa.tinygrad_emulator import WAVE_LANES

Lanes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def unpack_mask(mask: int) -> Flags:
    """Return a 64-bit mask as 64 booleans."""
    return np.unpackbits(np.array([mask], "<u8").view(np.uint8), bitorder="little").astype(bool)


def pack_lanes(lanes: Flags) -> int:
    """Return 64 booleans as a 64-bit mask."""
    return int(np.packbits(lanes, bitorder="little").view("<u8")[0])


@functools.cache
def route(control: int, row_mask: int, bank_mask: int) -> tuple[Lanes, Flags, Flags]:
    """Return each lane's source under a DPP control word, whether it exists, and whether the masks enable the lane."""
    lane = np.arange(WAVE_LANES)
    source, exists = _find_source(control, lane)
    enabled = (row_mask >> lane // 16 & bank_mask >> lane % 16 // 4 & 1).astype(bool)
    return np.where(exists, source, 0), exists, enabled


def _find_source(control: int, lane: Lanes) -> tuple[Lanes, Flags]:
    row, place = lane - lane % 16, lane % 16
    everywhere = np.ones(WAVE_LANES, bool)
    amount = control & 0xF
    if control < 0x100:  # quad_perm, two bits a lane
        return lane - lane % 4 + (control >> 2 * (lane % 4) & 3), everywhere
    by_group = {
        0x100: (lane + amount, place + amount < 16),  # row_shl
        0x110: (lane - amount, place >= amount),  # row_shr
        0x120: (row + (place - amount) % 16, everywhere),  # row_ror
        0x150: (row + amount, everywhere),  # row_newbcast
    }
    by_control = {
        0x130: (lane + 1, lane < WAVE_LANES - 1),  # wave_shl:1
        0x134: ((lane + 1) % WAVE_LANES, everywhere),  # wave_rol:1
        0x138: (lane - 1, lane > 0),  # wave_shr:1
        0x13C: ((lane - 1) % WAVE_LANES, everywhere),  # wave_ror:1
        0x140: (row + 15 - place, everywhere),  # row_mirror
        0x141: (lane - lane % 8 + 7 - lane % 8, everywhere),  # row_half_mirror
        0x142: (row - 1, lane >= 16),  # row_bcast:15
        0x143: (np.full(WAVE_LANES, 31), lane >= 32),  # row_bcast:31
    }
    if control in by_control:
        return by_control[control]
    if control & 0x1F0 in by_group:
        return by_group[control & 0x1F0]
    raise NotImplementedError(f"DPP control {control:#x}")
