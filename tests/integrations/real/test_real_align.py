"""What vLLM and SGLang align with, in their own code: who calls it how, and its results through the hook."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from moesort_tune.integrations.align_switch import SGLANG, VLLM
from tests.integrations.align_frameworks import ALIGN_STAND_IN, TAKEN
from tests.integrations.real.align_scenarios import SGLANG_CASES, VLLM_CASES
from tests.integrations.real.child import run_scenario

ALIGN = "moe_align_block_size"

SGLANG_KERNELS = {
    "sgl_moe_align_block_size": ("sglang/kernels/ops/moe/__init__.py", ALIGN),
    "moe_align_small_numel": ("sglang/kernels/ops/moe/moe_align_small_numel.py", "moe_align_small_numel"),
}
"""The names in SGLang's module, with the file and the name of the function in it."""


def get_arguments(file: Path, function: str) -> str:
    """Return the arguments of the last function of this name in a file, as text without types."""
    found = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    arguments = [node.args for node in found if node.name == function][-1]
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    return ast.unparse(arguments)


def get_file(folder: Path, module: str) -> Path:
    """Return the file of a module."""
    return folder / f"{module.replace('.', '/')}.py"


def find_uses(folder: Path, words: str) -> set[str]:
    """Return the files whose text has these words."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*.py") if words in file.read_text(errors="replace")}


def list_imports(folder: Path, module: str, name: str) -> Iterator[str]:
    """Yield the files that import a name from a module."""
    for file in folder.rglob("*.py"):
        if name in (text := file.read_text(errors="replace")):
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
            if any(node.module == module and name in [alias.name for alias in node.names] for node in nodes):
                yield str(file.relative_to(folder))


@pytest.mark.real_vllm
def test_stand_in_has_vllms_signature(vllm: Path) -> None:
    """Protects every test against the stand-in: vLLM's function takes the same arguments in the same order."""
    assert get_arguments(get_file(vllm, VLLM.module), ALIGN) == get_arguments(
        get_file(ALIGN_STAND_IN, VLLM.module), ALIGN
    )


@pytest.mark.real_vllm
def test_vllms_layers_reach_the_function_through_its_module(vllm: Path) -> None:
    """Protects the choke point: one file calls it, as an attribute, and nobody keeps it or calls the operator."""
    assert find_uses(vllm, "ops.moe_align_block_size(") == {
        "vllm/model_executor/layers/fused_moe/moe_align_block_size.py"
    }
    assert find_uses(vllm, "_moe_C.moe_align_block_size") == {"vllm/_custom_ops.py"}
    assert list(list_imports(vllm, "vllm._custom_ops", ALIGN)) == []


@pytest.mark.real_vllm
def test_vllms_own_function_is_exact_through_the_hook(vllm: Path, tmp_path: Path) -> None:
    """Protects vLLM's results and memory: its own allocation and lengths, every element, and canaries behind them."""
    answers = run_scenario("align_in_vllm", tmp_path, vllm=vllm)
    assert answers.pop("counts") == {VLLM.function: {TAKEN: len(VLLM_CASES)}}
    assert answers == {key: {"canaries gone": 0, "theirs": 0} for key in VLLM_CASES}


@pytest.mark.real_sglang
@pytest.mark.parametrize("name", SGLANG_KERNELS)
def test_stand_in_has_the_signatures_of_sglangs_kernels(sglang: Path, name: str) -> None:
    """Protects every test against the stand-in: SGLang's kernels take the same arguments in the same order."""
    file, function = SGLANG_KERNELS[name]
    assert get_arguments(sglang / file, function) == get_arguments(get_file(ALIGN_STAND_IN, SGLANG.module), name)


@pytest.mark.real_sglang
def test_stand_in_has_the_signature_of_sglangs_function(sglang: Path) -> None:
    """Protects the calls of the tests."""
    assert get_arguments(get_file(sglang, SGLANG.module), ALIGN) == get_arguments(
        get_file(ALIGN_STAND_IN, SGLANG.module), ALIGN
    )


@pytest.mark.real_sglang
def test_one_module_of_sglang_holds_its_kernels(sglang: Path) -> None:
    """Protects the choice of what is replaced: no other module imports the two kernels."""
    module = [f"{SGLANG.module.replace('.', '/')}.py"]
    assert list(list_imports(sglang, "sglang.kernels.ops.moe", ALIGN)) == module
    assert list(list_imports(sglang, "sglang.kernels.ops.moe.moe_align_small_numel", "moe_align_small_numel")) == module


@pytest.mark.real_sglang
def test_sglangs_own_function_is_exact_through_the_hook(sglang: Path, tmp_path: Path) -> None:
    """Protects SGLang's results and memory, by both kernels; a count of inactive blocks stays SGLang's."""
    answers = run_scenario("align_in_sglang", tmp_path, sglang=sglang)
    assert answers.pop("counts") == {
        SGLANG.function: {
            TAKEN: len(SGLANG_CASES),
            "left to the framework: unknown argument write_inactive_prefix_count": 1,
        }
    }
    assert answers.pop("inactive prefix") == 1
    assert answers == {key: {"canaries gone": 0, "theirs": 0} for key in SGLANG_CASES}
