"""A code object in this process's memory, and the launch of its kernels in the emulator."""

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.elf import CodeObject
from tests.isa import waves
from tests.isa.memory import GlobalMemory
from tests.isa.waves import Geometry, LaunchTrace, Order, Workgroup

_PAGE = 4096
_DESCRIPTOR_BYTES = 64
_PRELOAD_SKIP = 256
"""Bytes of prologue for hardware that does not preload kernel arguments."""


@dataclass(frozen=True)
class EmulatedLaunch:
    """One launch that was run. base: address of the code object in memory."""

    kernel: str
    grid: int
    block: int
    lds_bytes: int
    base: int
    trace: LaunchTrace


class Program:
    """A code object, loaded. memory: what its kernels may touch."""

    def __init__(self, code: bytes, memory: GlobalMemory) -> None:
        self.object = CodeObject(code)
        self._memory = memory
        end = max(segment.address + segment.nbytes for segment in self.object.segments)
        self._image = ctypes.create_string_buffer(end + 2 * _PAGE)
        self.base = -(-ctypes.addressof(self._image) // _PAGE) * _PAGE
        for segment in self.object.segments:
            ctypes.memmove(self.base + segment.address, segment.data, len(segment.data))

    def launch(
        self,
        kernel: str,
        arguments: bytes,
        *,
        grid: int,
        block: int,
        lds_bytes: int,
        order: Order = "forward",
        only: Sequence[Workgroup] | None = None,
    ) -> EmulatedLaunch:
        """Run a kernel whose explicit arguments are `arguments`, packed; lds_bytes: dynamic LDS.

        Raises ValueError where the launch asks for more than the architecture has, as a GPU would refuse it.
        """
        metadata = self.object.kernels[kernel]
        descriptor = self.base + self.object.symbols[f"{kernel}.kd"].address
        static_lds, scratch_bytes = struct.unpack("<II", ctypes.string_at(descriptor, 8))
        limit = ARCHITECTURES[self.object.arch].lds_bytes
        if static_lds + lds_bytes > limit:
            raise ValueError(f"{kernel} asks for {static_lds + lds_bytes} bytes of LDS, {self.object.arch} has {limit}")
        if block > metadata[".max_flat_workgroup_size"]:
            raise ValueError(f"{kernel} takes at most {metadata['.max_flat_workgroup_size']} threads, got {block}")
        kernarg = _kernarg(metadata, arguments, grid=grid, block=block, lds_bytes=lds_bytes)
        packet = struct.pack("<6H3I40x", 0, 0, block, 1, 1, 0, grid * block, 1, 1)
        packet_copy, kernarg_copy = (ctypes.create_string_buffer(data, len(data)) for data in (packet, kernarg))
        entry, rsrc2, user_sgprs = _initial_state(descriptor, ctypes.addressof(packet_copy), kernarg_copy)
        geometry = Geometry(
            entry=entry,
            grid=(grid, 1, 1),
            block=(block, 1, 1),
            rsrc2=rsrc2,
            user_sgprs=user_sgprs,
            lds_bytes=static_lds + lds_bytes,
            scratch_bytes=scratch_bytes,
        )
        trace = waves.run(geometry, self._memory, order=order, only=only)
        return EmulatedLaunch(kernel, grid, block, static_lds + lds_bytes, self.base, trace)


def _kernarg(metadata: dict[str, Any], arguments: bytes, *, grid: int, block: int, lds_bytes: int) -> bytes:
    """Return the kernel argument segment: the explicit arguments, and the hidden ones that the compiler asked for."""
    segment = bytearray(metadata[".kernarg_segment_size"])
    hidden = {"hidden_grid_dims": 1, "hidden_dynamic_lds_size": lds_bytes}
    for axis, groups, threads in zip("xyz", (grid, 1, 1), (block, 1, 1), strict=True):
        hidden[f"hidden_block_count_{axis}"] = groups
        hidden[f"hidden_group_size_{axis}"] = threads
    explicit = [a for a in metadata[".args"] if not a[".value_kind"].startswith("hidden_")]
    expected = max(a[".offset"] + a[".size"] for a in explicit)
    if len(arguments) != expected:
        raise ValueError(f"{metadata['.name']} takes {expected} bytes of arguments, got {len(arguments)}")
    segment[: len(arguments)] = arguments
    for argument in metadata[".args"]:
        if argument[".value_kind"] in hidden:
            value = hidden[argument[".value_kind"]].to_bytes(argument[".size"], "little")
            segment[argument[".offset"] : argument[".offset"] + argument[".size"]] = value
    return bytes(segment)


def _initial_state(descriptor: int, packet: int, kernarg: "ctypes.Array[ctypes.c_char]") -> tuple[int, int, list[int]]:
    """Return a kernel descriptor's (address of the first instruction, word rsrc2, initial scalar registers)."""
    raw = ctypes.string_at(descriptor, _DESCRIPTOR_BYTES)
    scratch_bytes, (entry,) = struct.unpack_from("<I", raw, 4)[0], struct.unpack_from("<q", raw, 16)
    rsrc2, properties, preload = struct.unpack_from("<IHH", raw, 52)
    # In the order of the descriptor's bits: private segment buffer, dispatch packet, queue, kernarg segment, dispatch
    # id, flat scratch, private segment size.
    values = ((0,) * 4, _words(packet), (0, 0), _words(ctypes.addressof(kernarg)), (0, 0), (0, 0), (scratch_bytes,))
    registers = [word for bit, words in enumerate(values) if properties >> bit & 1 for word in words]
    length, offset = preload & 0x7F, preload >> 7
    if length:
        padded = kernarg.raw.ljust(4 * (offset + length), b"\0")
        registers += struct.unpack_from(f"<{length}I", padded, 4 * offset)
        entry += _PRELOAD_SKIP
    return descriptor + entry, rsrc2, registers


def _words(address: int) -> tuple[int, int]:
    return address & 0xFFFFFFFF, address >> 32
