"""tinygrad's emulator of AMD GPU instructions, with what it gets wrong for wave64 corrected at run time.

The checkout that TINYGRAD_REPO names is imported and left as it is on disk (last used with commit a9069c177).
"""

import functools
import importlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from moesort_tune.device.architectures import ARCHITECTURES

REPO_VARIABLE = "TINYGRAD_REPO"
FOLDER = Path(__file__).parent

MAX_LDS_BYTES = max(facts.lds_bytes for facts in ARCHITECTURES.values() if facts.vendor == "amd")
STAGING_REGISTER = 255
"""Register of the accumulator file that carries DPP operands during one instruction."""

WAVE_LANES = 64


class EmulatorMissingError(Exception):
    """There is no usable checkout of tinygrad."""


@functools.cache
def load() -> Any:
    """Return the emulator's module, corrected. Raise EmulatorMissingError naming what is missing."""
    emulator = _import(_repository())
    _use_a_compiler_that_is_there()
    _correct_lane_wrap(emulator)
    _correct_lds_size(emulator)
    _correct_dpp(emulator)
    _correct_flat(emulator)
    return emulator


def missing() -> str | None:
    """Return why the emulator cannot be used, or None."""
    try:
        _repository()
        _clang()
    except EmulatorMissingError as error:
        return str(error)
    return None


def _repository() -> Path:
    named = os.environ.get(REPO_VARIABLE)
    if not named:
        raise EmulatorMissingError(f"{REPO_VARIABLE} does not name a checkout of tinygrad")
    repository = Path(named).resolve()
    if not (repository / "test" / "mockgpu" / "amd" / "emu.py").is_file():
        raise EmulatorMissingError(f"{REPO_VARIABLE} is {named}, which has no test/mockgpu/amd/emu.py")
    return repository


def _import(repository: Path) -> Any:
    """Import from the checkout first: the emulator's package is called `test`, as is one of Python's own."""
    if str(repository) not in sys.path:
        sys.path.insert(0, str(repository))
    loaded = getattr(sys.modules.get("test"), "__file__", None)
    if loaded is None or not Path(loaded).is_relative_to(repository):
        for name in [name for name in sys.modules if name == "test" or name.startswith("test.")]:
            del sys.modules[name]
    return importlib.import_module("test.mockgpu.amd.emu")


def _clang() -> str:
    for name in (os.environ.get("CC", "clang"), "clang", *(f"clang-{release}" for release in range(30, 14, -1))):
        if "clang" in name and shutil.which(name):
            return name
    raise EmulatorMissingError("the emulator compiles what it executes with clang, and none was found")


def _use_a_compiler_that_is_there() -> None:
    """tinygrad calls `clang`, unless the environment's CC says otherwise; distributions call it clang-22."""
    module = importlib.import_module("tinygrad.runtime.support.compiler_cpu")
    inner = module.getenv

    def getenv(key: str, default: Any = 0) -> Any:
        return _clang() if key == "CC" else inner(key, default)

    module.getenv = getenv  # type: ignore[attr-defined]


def _correct_lane_wrap(emulator: Any) -> None:
    """ds_permute and ds_bpermute pick lane (address / 4) % 64.

    The emulator's parser reads the documented expression, which has no parentheses, from the wrong end; the shift and
    mask form leaves it no choice.
    """
    inner = emulator.get_pcode

    def get_pcode(op: Any) -> str:
        text: str = inner(op)
        if "PERMUTE_B32" in op.name:
            text = re.sub(r"(\([^()]*?\[ADDR\][^()]*\))\s*/\s*4U?\s*%\s*64U?", r"((\1 >> 2U) & 63U)", text)
        return text

    emulator.get_pcode = get_pcode


def _correct_lds_size(emulator: Any) -> None:
    """Compiled instructions take LDS as a parameter declared with 64 KiB; gfx950 has more."""
    emulator._Ctx.lds = emulator.UOp.param(3, emulator.dtypes.uint32, (MAX_LDS_BYTES // 4,))


def _correct_dpp(emulator: Any) -> None:
    """A compiled DPP instruction takes its first operand from the staging register, which waves.py fills before.

    So no control field needs to be compiled in: they are declared dynamic, and one compiled form serves them all.
    """
    inner = emulator._load_dpp16_src0

    def load_first_operand(context: Any, instruction: Any, lane: Any, fallback: Any) -> Any:
        if context.wave_size != WAVE_LANES:
            return inner(context, instruction, lane, fallback)
        if instruction.canonical_op_bits["s0"] > 32:
            raise NotImplementedError("DPP on a 64-bit operand")
        for field in ("vsrc0", "dpp", "bc", "row_mask", "bank_mask"):
            context.inst_field(getattr(type(instruction), field))
        staging = emulator.UOp.const(STAGING_REGISTER, emulator.dtypes.uint32)
        return context.raccvgpr_dyn(staging, lane)

    emulator._load_dpp16_src0 = load_first_operand


def _correct_flat(emulator: Any) -> None:
    """A flat access has no scalar base, although the field where others keep it is there, and an unsigned offset.

    It is always taken for an access to global memory.
    """
    optional_field, signed_field = emulator._Ctx.optional_field, emulator._Ctx.inst_field_signed

    def optional(context: Any, instruction: Any, name: str) -> Any:
        if name == "saddr" and isinstance(instruction, emulator.irc.FLAT):
            return None
        return optional_field(context, instruction, name)

    def convert_to_signed(context: Any, field: Any) -> Any:
        if field is emulator.irc.FLAT.offset:
            return context.inst_field(field).cast(emulator.dtypes.int)
        return signed_field(context, field)

    emulator._Ctx.optional_field, emulator._Ctx.inst_field_signed = optional, convert_to_signed
