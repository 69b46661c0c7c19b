"""moesort-tune build, as a person runs it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moesort_tune.cli.build import build, format_resources
from moesort_tune.device.ahead_of_time import OffloadCompilerError
from moesort_tune.device.code_objects import KernelResources, ResourceError
from moesort_tune.sorting.revision import compute_align_revision
from tests.offload import find_real_compiler, make_code_object, write_fake_compiler

RESOURCES_PAGE = Path(__file__).parents[2] / "docs" / "resources.md"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(build, arguments)


def make_compiler(folder: Path, **changed: int) -> str:
    code = make_code_object("gfx950", "kernel", **changed)
    return str(write_fake_compiler(folder, "clang++", version="clang version 22.0", output=code))


def test_build_writes_object_and_manifest(tmp_path: Path) -> None:
    """Protects the files that deployments copy: those of moe_sorting, and those of the align form for either width."""
    result = invoke("--arch", "gfx950", "--out", str(tmp_path / "out"), "--compiler", make_compiler(tmp_path))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/gfx950.co").read_bytes() == make_code_object("gfx950", "kernel")
    revisions = {}
    for form in ("", "align32", "align64"):
        stem = f"gfx950-{form}" if form else "gfx950"
        manifest = json.loads((tmp_path / f"out/{stem}.json").read_text())
        assert (manifest["arch"], manifest["form"]) == ("gfx950", form)
        assert (f"-DMOESORT_ALIGN={form[-2:]}" in manifest["options"]) == bool(form)
        assert (tmp_path / f"out/{stem}.co").exists()
        revisions[form] = manifest["revision"]
    assert revisions["align32"] == revisions["align64"] == compute_align_revision("gfx950") != revisions[""]


def test_build_prints_manifests_as_json(tmp_path: Path) -> None:
    """Protects scripts: --json is the manifest of every target and form."""
    result = invoke("--arch", "gfx950", "--json", "--compiler", make_compiler(tmp_path))
    manifests = json.loads(result.stdout)
    assert [manifest["form"] for manifest in manifests] == ["", "align32", "align64"]
    assert manifests[0]["kernels"][0]["vgprs"] == 20


def test_build_refuses_an_unknown_architecture() -> None:
    """Protects exit status 2 for bad values, and the list of good ones."""
    result = invoke("--arch", "gfx1100")
    assert result.exit_code == 2
    assert "gfx950" in result.output


def test_build_refuses_two_formats(tmp_path: Path) -> None:
    """Protects against printing one format and calling it the other."""
    result = invoke("--arch", "gfx950", "--json", "--markdown", "--compiler", make_compiler(tmp_path))
    assert result.exit_code == 2


def test_check_fails_and_writes_nothing(tmp_path: Path) -> None:
    """Protects --check: a kernel that spills is named with the number, and no object of it is left behind."""
    spilling = make_compiler(tmp_path, vgpr_spill_count=7)
    result = invoke("--arch", "gfx950", "--out", str(tmp_path / "out"), "--check", "--compiler", spilling)
    assert isinstance(result.exception, ResourceError)
    assert "kernel on gfx950 spills 7 VGPRs" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_missing_compiler_is_one_sentence(tmp_path: Path) -> None:
    """Protects against a traceback where nothing is installed."""
    result = invoke("--arch", "gfx950", "--compiler", str(tmp_path / "none"))
    assert isinstance(result.exception, OffloadCompilerError)


@pytest.mark.offload_clang
def test_page_of_resources_is_current() -> None:
    """Protects docs/resources.md: `make resources` must be run when the kernels change."""
    compiler = find_real_compiler()
    if f"Compiler: {compiler.version}." not in RESOURCES_PAGE.read_text():
        pytest.skip(f"docs/resources.md was made by another compiler than {compiler.version}")
    assert invoke("--arch", "all", "--check", "--markdown").stdout == RESOURCES_PAGE.read_text()


def test_columns_of_resources_stand_below_each_other() -> None:
    """Protects whoever reads down a column: long names and large numbers move no other column."""
    small = dict.fromkeys(("agprs", "lds_bytes", "scratch_bytes", "vgpr_spills", "sgpr_spills", "kernarg_bytes"), 0)
    rest = {"sgprs": 37, "wavefront_size": 64, "code_bytes": 99}
    large = {**small, "agprs": 256, "scratch_bytes": 1024, "vgpr_spills": 12}
    lines = list(
        format_resources(
            [
                KernelResources(name="count", vgprs=8, **small, **rest),
                KernelResources(name="a_kernel_with_a_long_name", vgprs=512, **large, **rest),
            ]
        )
    )
    for word in ("VGPRs", "AGPRs", "SGPRs", "spills", "B scratch", "wave64"):
        assert len({line.index(word) for line in lines}) == 1, lines
    assert " ".join(lines[1].split()).endswith("512 VGPRs 256 AGPRs 37 SGPRs 12 spills 1024 B scratch wave64")
