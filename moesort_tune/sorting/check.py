"""Exact comparison of a kernel's outputs with the reference."""

from dataclasses import fields
from typing import Final

import numpy as np

from moesort_tune.errors import MoesortTuneError
from moesort_tune.sorting.align import AlignedOutputs
from moesort_tune.sorting.reference import SortedOutputs

JUNK: Final = 0xA5
"""Content of outputs and workspace before a checked sort, so that nothing is right by chance."""


class WrongOutputError(MoesortTuneError):
    """An output of a kernel that differs from the reference."""


def check_outputs(
    actual: SortedOutputs | AlignedOutputs, expected: SortedOutputs | AlignedOutputs, *, kernel: str, shape: str
) -> None:
    """Raise WrongOutputError naming the first difference; weights are compared bit by bit.

    Optional outputs that are None in `actual` were not requested and are not compared.
    """
    for output in fields(expected):
        got, want = getattr(actual, output.name), getattr(expected, output.name)
        if got is None:
            continue
        if got.shape != want.shape:
            raise WrongOutputError(
                f"{kernel} is wrong for {shape}: {output.name} has {got.size} defined elements instead of {want.size}"
            )
        different = np.flatnonzero(got.view(np.uint32) != want.view(np.uint32))
        if different.size:
            place = int(different[0])
            raise WrongOutputError(
                f"{kernel} is wrong for {shape}: {output.name}[{place}] is {got[place]} instead of {want[place]} "
                f"({different.size} of {want.size} elements differ)"
            )
