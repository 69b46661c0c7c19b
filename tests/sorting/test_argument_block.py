"""The argument block that launches write their addresses into, checked where Python runs without asserts too."""

import ctypes
import subprocess
import sys

import pytest

from moesort_tune.operator.planned_sort import check_pointers

POINTER = ctypes.c_void_p


def make_block(*fields: tuple[str, type]) -> type[ctypes.Structure]:
    """Return an argument block with these fields."""
    return type("Block", (ctypes.Structure,), {"_fields_": fields})


def test_block_that_begins_with_the_tensors_is_taken() -> None:
    """What the kernels declare today."""
    check_pointers(["ids", "weights"], make_block(("ids", POINTER), ("weights", POINTER), ("rows", ctypes.c_int32)))


@pytest.mark.parametrize(
    "fields",
    [
        [("weights", POINTER), ("ids", POINTER)],
        [("ids", POINTER), ("weights", POINTER), ("workspace", POINTER)],
        [("ids", POINTER)],
        [("ids", POINTER), ("rows", ctypes.c_int32), ("weights", POINTER)],
        [("rows", ctypes.c_int64), ("ids", POINTER), ("weights", POINTER)],
    ],
)
def test_block_of_another_layout_is_refused(fields: list[tuple[str, type]]) -> None:
    """Protects memory: an address in another field is another argument of the kernel."""
    with pytest.raises(TypeError, match="Block must begin with pointers to ids, weights"):
        check_pointers(["ids", "weights"], make_block(*fields))


def test_layout_is_checked_without_asserts() -> None:
    """Protects serving processes that run under python -O."""
    code = (
        "from moesort_tune.sorting import arguments\n"
        "first, second, *others = arguments.SortingArguments._fields_\n"
        "class SortingArguments(arguments.ctypes.Structure):\n"
        "    _fields_ = (second, first, *others)\n"
        "arguments.SortingArguments = SortingArguments\n"
        "import moesort_tune.operator.planned_sort\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "TypeError: SortingArguments must begin with pointers to topk_ids, topk_weights" in done.stderr
