"""Prebuilt kernels: a code object `<arch>.co` and its manifest `<arch>.json`, with `-align32` or `-align64` behind
<arch> for the align form."""

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
from moesort_tune.device.sources import SORTING_FORM, Form
from moesort_tune.errors import MoesortTuneError
from moesort_tune.shipped import get_kernels_folder

FOLDER_VARIABLE = "MOESORT_TUNE_CODE_OBJECTS"
"""Environment variable that names a folder of prebuilt code objects."""


class ResourceError(MoesortTuneError):
    """A kernel that exceeds its resource limits."""


_log = logging.getLogger(__name__)


class KernelResources(msgspec.Struct, frozen=True):
    """Resources of one kernel, from its code object's metadata.

    vgprs, agprs: registers of a lane; sgprs: of a wave; lds_bytes: static LDS of a workgroup, without what a launch
    requests; scratch_bytes: of a lane; spills: registers that did not fit.
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
    """Origin of a code object.

    revision: see sorting.revision; compiler: the name it gives itself. form: the output form's name, '' for sorting.
    """

    arch: str
    revision: str
    compiler: str
    options: tuple[str, ...]
    sha256: str
    kernels: tuple[KernelResources, ...]
    form: str = ""

    @property
    def stem(self) -> str:
        """The name of its files without a suffix: 'gfx942', 'gfx942-align32'."""
        return _name_files(self.arch, self.form)


def _name_files(arch: str, form: str) -> str:
    return f"{arch}-{form}" if form else arch


def compute_digest(code: bytes) -> str:
    """Return the value of Manifest.sha256 for `code`."""
    return hashlib.sha256(code).hexdigest()


def read_resources(code: CodeObject) -> tuple[KernelResources, ...]:
    """Return the resources of every kernel in `code`, ordered by name."""
    return tuple(_parse_resources(name, code.kernels[name], code.symbols[name].nbytes) for name in sorted(code.kernels))


def _parse_resources(name: str, metadata: dict[str, Any], code_bytes: int) -> KernelResources:
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


def find_complaints(arch: str, kernels: tuple[KernelResources, ...]) -> list[str]:
    """Return one sentence for each limit of `arch` that the kernels exceed; [] if there is none."""
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
    """Raise ResourceError naming every kernel and number that `find_complaints` reports."""
    found = [text for manifest in manifests for text in find_complaints(manifest.arch, manifest.kernels)]
    if found:
        raise ResourceError(f"{'; '.join(found)}: the kernels would run slowly or not at all, so do not ship them")


def write(folder: Path, manifest: Manifest, code: bytes) -> None:
    """Write both files into `folder`, creating it if absent. Raise CodeObjectError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{manifest.stem}.co").write_bytes(code)
        (folder / f"{manifest.stem}.json").write_bytes(text + b"\n")
    except OSError as error:
        raise CodeObjectError(f"cannot write to {folder} ({error.strerror}); choose another folder") from error


def find_prebuilt(arch: str, revision: str, form: Form = SORTING_FORM) -> bytes | None:
    """Return the prebuilt code object of one form for `arch`, of exactly this revision, or None.

    Search the folder that MOESORT_TUNE_CODE_OBJECTS names, then the shipped ones. An object that does not fit, or that
    lies in a named folder which others may write, is skipped with a warning that gives the reason.
    """
    named = _get_named_folder()
    for folder in filter(None, (named, get_kernels_folder().parent / "code_objects")):
        path = folder / f"{_name_files(arch, form.name)}.co"
        read = trust.read_path if folder == named else Path.read_bytes
        try:
            if path.exists():
                return _read_checked(path, arch, revision, form, read=read)
        except (OSError, ValueError, msgspec.MsgspecError, MoesortTuneError) as error:
            _log.warning("%s is not used: %s; run moesort-tune build --arch %s --out %s", path, error, arch, folder)
    return None


def _get_named_folder() -> Path | None:
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


def _read_checked(path: Path, arch: str, revision: str, form: Form, read: Callable[[Path], bytes]) -> bytes:
    code = read(path)
    manifest = msgspec.json.decode(read(path.with_suffix(".json")), type=Manifest)
    if manifest.revision != revision:
        raise ValueError(f"it was built from revision {manifest.revision}, and these kernels are {revision}")
    if manifest.form != form.name:
        raise ValueError(f"it holds the form {manifest.form or 'sorting'}, not {form.name or 'sorting'}")
    if manifest.sha256 != compute_digest(code):
        raise ValueError(f"its content is not what {path.with_suffix('.json').name} describes")
    built_for = CodeObject(code).arch
    if built_for != arch:
        raise ValueError(f"it was built for {built_for}")
    return code
