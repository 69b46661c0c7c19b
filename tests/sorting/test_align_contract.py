"""The align form's reference and sizes by hand, and the sources that both forms share."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moesort_tune.device import sources
from moesort_tune.shipped import get_kernels_folder
from moesort_tune.sorting import launches
from moesort_tune.sorting.align import AlignInputs, AlignProblem, align_block_size
from moesort_tune.sorting.arguments import AlignArguments, SortingArguments
from moesort_tune.sorting.launches import KERNELS, SOURCES
from moesort_tune.sorting.revision import compute_align_revision, compute_kernels_revision
from tests.sorting.align_cases import EDGES

REVISIONS = {"gfx942": "838b180301385d06", "gfx950": "bd79b2c36e94500e"}
"""Of the kernels before they had an align form."""


@pytest.mark.parametrize("arch", REVISIONS)
def test_align_form_leaves_the_sorting_form_as_it_was(arch: str) -> None:
    """Protects tables that were measured before there was an align form."""
    assert compute_kernels_revision(arch) == REVISIONS[arch]


def test_sorting_form_has_nothing_of_the_align_form() -> None:
    """Protects the revision from guards that it does not understand."""
    for file in (*SOURCES, *(name for name in sources.read_headers("host") if not name.startswith("align/"))):
        text = sources.select_sorting_form((get_kernels_folder() / file).read_text())
        assert "MOESORT_ALIGN" not in text
        assert "align/" not in text


def test_align_form_has_nothing_of_the_sorting_form() -> None:
    """Protects its revision likewise: no guard is left, and shared headers hold no struct of the other form."""
    texts = {}
    for file in (*SOURCES, *(name for name in sources.read_headers("host") if not name.startswith("align/"))):
        texts[file] = sources.select_align_form((get_kernels_folder() / file).read_text())
        assert "MOESORT_ALIGN" not in texts[file]
    assert "align/arguments.h" in texts["arguments.h"]
    assert "topk_weights" not in texts["arguments.h"]


@pytest.fixture
def kernels_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the kernels' folder, of which the revisions are made."""
    folder = shutil.copytree(get_kernels_folder(), tmp_path / "kernels")
    monkeypatch.setattr(sources, "get_kernels_folder", lambda: folder)
    return folder


def compute_both() -> tuple[str, str]:
    """Return the revisions of the sorting and of the align form now."""
    compute_kernels_revision.cache_clear()
    compute_align_revision.cache_clear()
    return compute_kernels_revision("gfx942"), compute_align_revision("gfx942")


@pytest.fixture(autouse=True)
def _recompute() -> Iterator[None]:
    """Forget revisions after each test."""
    yield
    compute_kernels_revision.cache_clear()
    compute_align_revision.cache_clear()


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("align/access.h", "\nint more;\n", (False, True)),
        ("align/arguments.h", "\nint more;\n", (False, True)),
        ("align/access.h", "\n// why\n", (False, False)),
        ("layout.h", "\n#ifdef MOESORT_ALIGN\nint more;\n#endif\n", (False, True)),
        ("layout.h", "\n#ifndef MOESORT_ALIGN\nint more;\n#endif\n", (True, False)),
        ("layout.h", "\n#ifdef MOESORT_ALIGN\nint more;\n#else\nint less;\n#endif\n", (True, True)),
        ("wave.hip", "\nint more;\n", (True, True)),
        ("platform/wave_portable.h", "\nint more;\n", (False, False)),
    ],
)
def test_revision_changes_with_the_code_of_its_form_alone(
    kernels_folder: Path, file: str, text: str, changes: tuple[bool, bool]
) -> None:
    """Protects tables of one form from work on the other one, and from being used for other code of their own."""
    before = compute_both()
    assert before[0] != before[1]
    with (kernels_folder / file).open("a") as source:
        source.write(text)
    assert tuple(new != old for new, old in zip(compute_both(), before, strict=True)) == changes


@pytest.mark.parametrize("constant", ["MANY_PAIRS", "SORTING_THREADS"])
def test_align_revision_changes_with_the_launches(monkeypatch: pytest.MonkeyPatch, constant: str) -> None:
    """Protects tables of the align form from launches that they were not measured with."""
    before = compute_both()
    value = getattr(launches, constant)
    monkeypatch.setattr(launches, constant, tuple(2 * one for one in value) if isinstance(value, tuple) else 2 * value)
    assert compute_both()[1] != before[1]


def test_guards_are_resolved_as_a_preprocessor_does() -> None:
    """Protects the three shapes of a guard."""
    text = "a\n#ifdef MOESORT_ALIGN\nb\n#else\nc\n#endif\n#ifndef MOESORT_ALIGN  // why\nd\n#endif\n"
    assert sources.select_sorting_form(text) == "a\nc\nd\n"
    assert sources.select_align_form(text) == "a\nb\n"
    assert sources.select_sorting_form("#ifdef MOESORT_ALIGN\nb\n#endif\ne\n") == "e\n"
    assert sources.select_align_form("#ifdef MOESORT_ALIGN\nb\n#endif\ne\n") == "b\ne\n"


def test_argument_blocks_end_alike() -> None:
    """Protects the fields that both forms have from another order or width in one of them."""
    ends = []
    for block in (SortingArguments, AlignArguments):
        names = [field[0] for field in block._fields_]
        shared = names[names.index("rows") :]
        first = block.rows.offset
        ends.append([(name, getattr(block, name).offset - first) for name in shared])
    assert ends[0] == ends[1]
    assert AlignArguments.first_id.offset == ctypes.sizeof(ctypes.c_void_p)
    assert AlignArguments.expert_map.offset == 2 * ctypes.sizeof(ctypes.c_void_p)


def test_reference_aligns_the_frameworks_own_example() -> None:
    """Protects the reference: four experts from 1 on, as in the docstring of vLLM and SGLang."""
    ids = np.array([[2, 3, 4], [1, 2, 4], [1, 3, 4], [1, 2, 3]], np.int32)
    problem = AlignProblem(4, 3, 5, 4)
    outputs = align_block_size(AlignInputs(ids), problem)
    assert outputs.num_tokens_post_pad.tolist() == [16]
    assert outputs.sorted_token_ids[:16].tolist() == [3, 6, 9, 12, 0, 4, 10, 12, 1, 7, 11, 12, 2, 5, 8, 12]
    assert outputs.sorted_token_ids[16:].tolist() == [12] * 11
    assert outputs.expert_ids.tolist() == [1, 2, 3, 4, -1, -1, -1]


def test_worked_example_of_the_readme_is_what_the_reference_gives() -> None:
    """Protects hip_kernels/README.md, from which people learn the layout."""
    ids = np.array([[2, 0], [0, 1], [2, 0]], np.int32)
    outputs = align_block_size(AlignInputs(ids), AlignProblem(3, 2, 3, 4))
    assert outputs.sorted_token_ids.tolist() == [1, 2, 5, 6, 3, 6, 6, 6, 0, 4, 6, 6, 6, 6, 6]
    assert outputs.expert_ids.tolist() == [0, 1, 2, -1]
    assert outputs.num_tokens_post_pad.tolist() == [12]
    assert outputs.scatter_idx is not None
    assert outputs.scatter_idx.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("problem", "rows", "blocks"),
    [
        (AlignProblem(0, 2, 8), 0, 0),
        (AlignProblem(1, 2, 8), 64, 2),
        (AlignProblem(3, 3, 8), 257, 9),
        (AlignProblem(3, 3, 8, pad_sorted_ids=True), 288, 9),
        (AlignProblem(1, 7, 8, 2), 14, 7),
        (AlignProblem(3, 3, 8, framework="sglang"), 288, 9),
        (AlignProblem(4, 2, 8, framework="sglang"), 256, 8),
        (AlignProblem(5, 2, 8, 5, framework="sglang"), 48, 10),
    ],
)
def test_capacity_is_what_the_framework_allocates(problem: AlignProblem, rows: int, blocks: int) -> None:
    """Protects memory: the outputs are filled up to these lengths and no further."""
    assert (problem.capacity_rows, problem.capacity_blocks) == (rows, blocks)


@pytest.mark.parametrize(
    "setting",
    ["SEED=1", "SEED=2", "SEED=3", "COMPUTE_UNITS=1", "COMPUTE_UNITS=304", "WAVEFRONT_SIZE=32"],
)
def test_alignment_is_exact_on_any_host(setting: str) -> None:
    """Protects against missing barriers, another cutting into chunks, and waves of 64 lanes taken for granted."""
    name, value = setting.split("=")
    environment = {**os.environ, "MOESORT_TUNE_RUNTIME": "host", f"MOESORT_HOST_{name}": value}
    answer = subprocess.run(
        [sys.executable, "-m", "tests.sorting.align_cases"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.stdout == f"checked {len(EDGES) * len(KERNELS)} alignments\n", answer.stderr
