"""Code objects and compilers for tests: synthetic ones for all machines, and the real compiler where installed."""

import functools
import struct
from pathlib import Path
from typing import Any

import msgspec

from moesort_tune.device import ahead_of_time
from moesort_tune.device.ahead_of_time import OffloadCompiler, OffloadCompilerError
from tests.opt_in import skip_or_fail

RESOURCES: dict[str, Any] = {
    ".vgpr_count": 20,
    ".agpr_count": 0,
    ".sgpr_count": 60,
    ".group_segment_fixed_size": 0,
    ".private_segment_fixed_size": 0,
    ".vgpr_spill_count": 0,
    ".sgpr_spill_count": 0,
    ".wavefront_size": 64,
    ".kernarg_segment_size": 416,
    ".args": [],
}


def make_code_object(arch: str = "gfx942", kernel: str = "moe_sorting_oneshot", **changed: Any) -> bytes:
    """Make a code object without code: ELF header, metadata note, one symbol. changed: metadata without the dot."""
    kernels = [{".name": kernel, **RESOURCES, **{f".{name}": value for name, value in changed.items()}}]
    metadata = msgspec.msgpack.encode({"amdhsa.target": f"amdgcn-amd-amdhsa--{arch}", "amdhsa.kernels": kernels})
    note = struct.pack("<III8s", 7, len(metadata), 32, b"AMDGPU\0") + metadata + b"\0" * (-len(metadata) % 4)
    names = b"\0" + kernel.encode() + b"\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 2, 0, 0, 0x100, 500)
    header_bytes, program_bytes, section_bytes = 64, 56, 64
    note_at = header_bytes + program_bytes
    symbols_at = note_at + len(note)
    names_at = symbols_at + len(symbols)
    sections_at = names_at + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01\x40\x03",
        *(3, 224, 1, 0, header_bytes, sections_at, 0),
        *(header_bytes, program_bytes, 1, section_bytes, 3, 0),
    )
    program = struct.pack("<IIQQQQQQ", 4, 4, note_at, note_at, note_at, len(note), len(note), 4)
    sections = bytes(section_bytes)
    sections += struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, symbols_at, len(symbols), 2, 1, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    return header + program + note + symbols + names + sections


def write_fake_compiler(folder: Path, name: str, *, version: str, output: bytes | None = None) -> Path:
    """Write an executable that reports `version` and 'compiles' any input to `output`, or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    path, stored = folder / name, folder / f"{name}.output"
    stored.write_bytes(output or b"")
    compile_action = f'/bin/cat "{stored}" > "$output"' if output else 'echo "error: no such target" >&2; exit 1'
    path.write_text(
        f"""#!/bin/sh
case "$1" in
  --version) echo "{version}"; exit 0 ;;
  -print-prog-name=ld.lld) echo /bin/sh; exit 0 ;;
esac
while [ $# -gt 0 ]; do [ "$1" = -o ] && output=$2; shift; done
/bin/cat > /dev/null
{compile_action}
"""
    )
    path.chmod(0o755)
    return path


@functools.cache
def _look_for_compiler() -> OffloadCompiler | str:
    try:
        return ahead_of_time.find_compiler()
    except OffloadCompilerError as error:
        return str(error)


def find_real_compiler(suite: str = "offload_clang") -> OffloadCompiler:
    """Return the machine's compiler for AMD GPUs; skip the calling test of `suite` where there is none."""
    found = _look_for_compiler()
    if isinstance(found, str):
        skip_or_fail(suite, found)
    return found
