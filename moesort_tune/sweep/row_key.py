"""The name of a row of a sweep: its shape, its condition, the kind of device and the operation."""

from typing import NamedTuple

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, Condition, Operation


class RowKey(NamedTuple):
    """Identifies a row of a sweep: '128/4', '128/4 without moe_buf', '128/4 masked on 304 compute units'.

    kind: of the device, where a sweep has several. operation: named in place of its only condition if not moe_sorting.
    """

    shape: Shape
    condition: Condition = Condition()
    kind: str = ""
    operation: Operation = SORTING

    def __str__(self) -> str:
        where = f"on {self.kind}" if self.kind else ""
        what = ", ".join(self.condition.list_unusual()) if self.operation == SORTING else self.operation
        return " ".join(filter(None, (str(self.shape), what, where)))
