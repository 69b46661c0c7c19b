"""Reading code objects, and refusing other files."""

import pytest

from moesort_tune.device import code_objects
from moesort_tune.device.code_objects import Manifest, ResourceError
from moesort_tune.device.elf import CodeObject, CodeObjectError
from tests.offload import make_code_object


def test_code_object_tells_target_and_resources() -> None:
    """Protects the manifest: numbers come from the object's own metadata."""
    code = CodeObject(make_code_object("gfx90a", "kernel", vgpr_count=33, agpr_count=2))
    (resources,) = code_objects.read_resources(code)
    assert code.arch == "gfx90a"
    assert (resources.name, resources.vgprs, resources.agprs, resources.code_bytes) == ("kernel", 33, 2, 500)


def test_target_features_are_left_out_of_the_architecture() -> None:
    """Protects objects built with features: 'gfx942:xnack-' is a gfx942."""
    assert CodeObject(make_code_object("gfx942:sramecc+:xnack-")).arch == "gfx942"


@pytest.mark.parametrize("nbytes", [0, 3, 63, 100, 200])
def test_truncated_code_object_is_refused(nbytes: int) -> None:
    """Protects against half-written files: one sentence, whatever is missing."""
    with pytest.raises(CodeObjectError, match=r"not a code object of an AMD GPU \(.*\); build it again"):
        CodeObject(make_code_object()[:nbytes])


def test_host_library_is_not_a_code_object() -> None:
    """Protects against an ELF file of another kind, which has no metadata of kernels."""
    without_note = make_code_object().replace(b"AMDGPU\0", b"OTHERS\0")
    with pytest.raises(CodeObjectError, match="no AMDGPU metadata"):
        CodeObject(without_note)


def complain(**changed: int) -> str:
    code = make_code_object("gfx942", "kernel", **changed)
    manifest = Manifest("gfx942", "r", "c", (), "", code_objects.read_resources(CodeObject(code)))
    with pytest.raises(ResourceError) as caught:
        code_objects.check_resources([manifest])
    return str(caught.value)


def test_check_names_kernel_and_number() -> None:
    """Protects the CI check: every exceeded limit is reported with its number."""
    assert "kernel on gfx942 spills 3 VGPRs" in complain(vgpr_spill_count=3)
    assert "kernel on gfx942 spills 4 SGPRs" in complain(sgpr_spill_count=4)
    assert "kernel on gfx942 uses 16 bytes of scratch" in complain(private_segment_fixed_size=16)
    assert "uses 65540 bytes of static LDS, and gfx942 has 65536" in complain(group_segment_fixed_size=65540)
    assert "kernel on gfx942 has waves of 32 lanes" in complain(wavefront_size=32)


def test_check_knows_each_targets_lds() -> None:
    """Protects gfx950, whose workgroups may use 160 KiB."""
    code = CodeObject(make_code_object("gfx950", group_segment_fixed_size=160 * 1024))
    assert code_objects.find_complaints("gfx950", code_objects.read_resources(code)) == []
