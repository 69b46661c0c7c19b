"""The name of a row of a sweep: its shape, its condition and the kind of device."""

from typing import NamedTuple

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import Condition


class RowKey(NamedTuple):
    """Identifies a row of a sweep: '128/4', '128/4 without moe_buf', '128/4 masked on 304 compute units'.

    kind: of the device, where a sweep has several.
    """

    shape: Shape
    condition: Condition = Condition()
    kind: str = ""

    def __str__(self) -> str:
        where = f"on {self.kind}" if self.kind else ""
        return " ".join(filter(None, (str(self.shape), ", ".join(self.condition.list_unusual()), where)))
