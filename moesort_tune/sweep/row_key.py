"""The name of a row of a sweep: its shape and its condition."""

from typing import NamedTuple

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition


class RowKey(NamedTuple):
    """Identifies a row of a sweep: '128/4', '128/4 without moe_buf', '128/4 masked'."""

    shape: Shape
    condition: Condition = Condition()

    def __str__(self) -> str:
        return " ".join((str(self.shape), ", ".join(self.condition.list_unusual()))).rstrip()
