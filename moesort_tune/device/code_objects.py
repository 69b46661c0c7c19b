"""Prebuilt kernels: a code object `<arch>.co` and beside it `<arch>.json`, which says what it was made of."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from moesort_tune.device import trust
from moesort_tune.device.architectures import ARCHITECTURES
from moesort_tune.device.elf import CodeObject, CodeObjectError
from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import kernels_folder

FOLDER_VARIABLE = "MOESORT_TUNE_CODE_OBJECTS"
"""Environment variable that names a folder of prebuilt code objects."""


class ResourceError(MoesortTuneError):
    """A kernel occupies what it must not."""


_log = logging.getLogger(__name__)


class KernelResources(msgspec.Struct, frozen=True):
    """What one kernel occupies, as its code object's metadata says.

    vgprs, agprs: registers of a lane; sgprs: of a wave; lds_bytes: static LDS of a workgroup (what a launch asks for
    comes on top); scratch_bytes: of a lane; spills: registers that did not fit.
    """

    name: str
    vgprs: int
    agprs: int
    sgprs: int
    lds_bytes: int
    scratch_bytes: int
    vgpr_spills: int
    sgpr_spills: int
    wavefront_size: int
    kernarg_bytes: int
    code_bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """What a code object was made of. revision: see sorting.revision; compiler: what it calls itself."""

    arch: str
    revision: str
    compiler: str
    options: tuple[str, ...]
    sha256: str
    kernels: tuple[KernelResources, ...]


def digest(code: bytes) -> str:
    """What Manifest.sha256 holds."""
    return hashlib.sha256(code).hexdigest()


def resources(code: CodeObject) -> tuple[KernelResources, ...]:
    """Resources of every kernel in `code`, ordered by name."""
    return tuple(_resources(name, code.kernels[name], code.symbols[name].nbytes) for name in sorted(code.kernels))


def _resources(name: str, metadata: dict[str, Any], code_bytes: int) -> KernelResources:
    return KernelResources(
        name=name,
        vgprs=metadata[".vgpr_count"],
        agprs=metadata.get(".agpr_count", 0),
        sgprs=metadata[".sgpr_count"],
        lds_bytes=metadata[".group_segment_fixed_size"],
        scratch_bytes=metadata[".private_segment_fixed_size"],
        vgpr_spills=metadata.get(".vgpr_spill_count", 0),
        sgpr_spills=metadata.get(".sgpr_spill_count", 0),
        wavefront_size=metadata[".wavefront_size"],
        kernarg_bytes=metadata[".kernarg_segment_size"],
        code_bytes=code_bytes,
    )


def complaints(arch: str, kernels: tuple[KernelResources, ...]) -> list[str]:
    """What is wrong with the kernels' resources on `arch`, a sentence each; [] if they are as they should be."""
    facts = ARCHITECTURES[arch]
    found = []
    for kernel in kernels:
        limits = (
            (kernel.vgpr_spills, 0, "spills {} VGPRs"),
            (kernel.sgpr_spills, 0, "spills {} SGPRs"),
            (kernel.scratch_bytes, 0, "uses {} bytes of scratch a lane"),
            (kernel.lds_bytes, facts.lds_bytes, f"uses {{}} bytes of static LDS, and {arch} has {facts.lds_bytes}"),
        )
        found += [f"{kernel.name} on {arch} {text.format(value)}" for value, limit, text in limits if value > limit]
        if kernel.wavefront_size != facts.wavefront_size:
            found.append(f"{kernel.name} on {arch} has waves of {kernel.wavefront_size} lanes")
    return found


def check_resources(manifests: Sequence[Manifest]) -> None:
    """Raises ResourceError naming every kernel and number that `complaints` objects to."""
    found = [text for manifest in manifests for text in complaints(manifest.arch, manifest.kernels)]
    if found:
        raise ResourceError(f"{'; '.join(found)}: the kernels would run slowly or not at all, so do not ship them")


def write(folder: Path, manifest: Manifest, code: bytes) -> None:
    """Writes `<arch>.co` and `<arch>.json` into `folder`, which is made if need be. Raises CodeObjectError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{manifest.arch}.co").write_bytes(code)
        (folder / f"{manifest.arch}.json").write_bytes(text + b"\n")
    except OSError as error:
        raise CodeObjectError(f"cannot write to {folder} ({error.strerror}); choose another folder") from error


def find_prebuilt(arch: str, revision: str) -> bytes | None:
    """The prebuilt code object for `arch` of exactly this revision, or None.

    Looks in the folder that MOESORT_TUNE_CODE_OBJECTS names, then among those shipped. An object that is there but
    does not fit, or in the named folder one that others may write, is never used; a warning says why.
    """
    named = _named_folder()
    for folder in filter(None, (named, kernels_folder().parent / "code_objects")):
        path = folder / f"{arch}.co"
        try:
            if path.exists():
                return _checked(path, arch, revision, read=trust.read_path if folder == named else Path.read_bytes)
        except (OSError, ValueError, msgspec.MsgspecError, MoesortTuneError) as error:
            _log.warning("%s is not used: %s; run moesort-tune build --arch %s --out %s", path, error, arch, folder)
    return None


def _named_folder() -> Path | None:
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


def _checked(path: Path, arch: str, revision: str, read: Callable[[Path], bytes]) -> bytes:
    code = read(path)
    manifest = msgspec.json.decode(read(path.with_suffix(".json")), type=Manifest)
    if manifest.revision != revision:
        raise ValueError(f"it was built from revision {manifest.revision}, and these kernels are {revision}")
    if manifest.sha256 != digest(code):
        raise ValueError(f"its content is not what {path.with_suffix('.json').name} describes")
    built_for = CodeObject(code).arch
    if built_for != arch:
        raise ValueError(f"it was built for {built_for}")
    return code
