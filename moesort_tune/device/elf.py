"""Parser for AMD GPU code objects: ELF segments and symbols, and the metadata of the kernels."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from moesort_tune.errors import MoesortTuneError

_MAGIC = b"\x7fELF\x02\x01"
"""ELF of 64 bits, little-endian."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_NOTE = struct.Struct("<III")

_LOAD, _NOTES = 1, 4
"""Segment types."""

_SYMBOL_TABLES = (2, 11)
"""Section types SHT_SYMTAB and SHT_DYNSYM."""

_AMDGPU_METADATA = 32
"""Note type NT_AMDGPU_METADATA; its owner is AMDGPU."""


class CodeObjectError(MoesortTuneError):
    """Bytes that are not an AMD GPU code object."""


@dataclass(frozen=True)
class Segment:
    """Bytes to load. address: relative to the object's base; nbytes: length in memory, zeros after `data`."""

    address: int
    nbytes: int
    data: bytes


@dataclass(frozen=True)
class Symbol:
    """A symbol's location. address: relative to the object's base."""

    address: int
    nbytes: int


class CodeObject:
    """A parsed code object. Raises CodeObjectError for anything else.

    arch: bare ('gfx942'); kernels: metadata of each kernel by name, keys as in LLVM's AMDGPU user guide.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            if not data.startswith(_MAGIC):
                raise ValueError("it does not begin like a 64-bit ELF file")
            self._header = _HEADER.unpack_from(data)
            metadata = msgspec.msgpack.decode(self._find_metadata())
            self.arch = str(metadata["amdhsa.target"]).rpartition("--")[2].partition(":")[0]
            self.kernels: dict[str, dict[str, Any]] = {k[".name"]: k for k in metadata["amdhsa.kernels"]}
            self.segments = list(self._read_segments())
            self.symbols = dict(self._read_symbols())
        except (ValueError, KeyError, TypeError, struct.error, msgspec.DecodeError) as error:
            raise CodeObjectError(f"not a code object of an AMD GPU ({error}); build it again") from error

    def _read_program_headers(self, kind: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (offset, address, bytes in the file, bytes in memory) of the segments of one type."""
        offset, size, count = self._header[5], self._header[9], self._header[10]
        for index in range(count):
            entry = _SEGMENT.unpack_from(self._data, offset + index * size)
            if entry[0] == kind:
                yield entry[2], entry[3], entry[5], entry[6]

    def _read_segments(self) -> Iterator[Segment]:
        for offset, address, in_file, in_memory in self._read_program_headers(_LOAD):
            yield Segment(address, in_memory, self._data[offset : offset + in_file])

    def _find_metadata(self) -> bytes:
        for offset, _, nbytes, _ in self._read_program_headers(_NOTES):
            place, end = offset, offset + nbytes
            while place < end:
                name_bytes, text_bytes, kind = _NOTE.unpack_from(self._data, place)
                name = place + _NOTE.size
                text = name + _pad(name_bytes)
                if kind == _AMDGPU_METADATA and self._data[name:text].startswith(b"AMDGPU\0"):
                    return self._data[text : text + text_bytes]
                place = text + _pad(text_bytes)
        raise ValueError("it has no AMDGPU metadata")

    def _read_symbols(self) -> Iterator[tuple[str, Symbol]]:
        offset, size, count = self._header[6], self._header[11], self._header[12]
        sections = [_SECTION.unpack_from(self._data, offset + index * size) for index in range(count)]
        for section in sections:
            if section[1] in _SYMBOL_TABLES:
                names = sections[section[6]][4]
                for place in range(section[4], section[4] + section[5], _SYMBOL.size):
                    name, _, _, _, address, nbytes = _SYMBOL.unpack_from(self._data, place)
                    yield self._read_text(names + name), Symbol(address, nbytes)

    def _read_text(self, offset: int) -> str:
        return self._data[offset : self._data.index(b"\0", offset)].decode()


def _pad(nbytes: int) -> int:
    """Round up to a multiple of 4 bytes, to which notes are padded."""
    return -(-nbytes // 4) * 4
