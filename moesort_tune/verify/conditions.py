"""Name the conditions that a table is verified under, and the limits that a regret must not exceed under each."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from moesort_tune.domain.presets import MASKED_RANKS
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import SORTING, Condition, Operation
from moesort_tune.numerals import check_within, parse_number, quote

AS_SWEPT: Final = "as swept"

OTHER_SHAPES: Final = "shapes without a row"
"""Shapes that lie between the rows, under the settings of the sweep."""

NO_TABLE: Final = "no table"
"""The points of all conditions of calls, decided as in a deployment without a table."""

OF_CALLS: Final[dict[str, Condition]] = {
    "without moe_buf": Condition(moe_buf=False),
    "masked": Condition(masked=True),
}
"""Conditions of calls other than the usual one, which a table may have entries for."""


class Variation(NamedTuple):
    """Changes to the settings of a sweep. share: one point of so many that are asked as swept."""

    changes: Mapping[str, object]
    share: int


OTHER_SETTINGS: Final[dict[str, Variation]] = {
    "without moe_buf": Variation({"moe_buf": False}, 2),
    "masked": Variation({"ep": MASKED_RANKS}, 2),
    "eager": Variation({"timing": "eager"}, 2),
    "cold": Variation({"timing": "eager", "cold": True}, 2),
    "zipf:1.2": Variation({"routing": "zipf:1.2", "trace": None}, 4),
    "dirichlet:0.3": Variation({"routing": "dirichlet:0.3", "trace": None}, 4),
    "unit_size=16": Variation({"unit_size": 16}, 4),
    "unit_size=64": Variation({"unit_size": 64}, 4),
    "unit_size=128": Variation({"unit_size": 128}, 4),
    "model_dim=2048": Variation({"model_dim": 2048}, 4),
    "model_dim=7168": Variation({"model_dim": 7168}, 4),
}
"""Settings that a table may not be measured with, by the name that --settings takes."""

_OF_SORTING: Final = frozenset(("moe_buf", "ep", "model_dim"))
"""Settings that mean something to moe_sorting alone."""

SHARE_OF_ROUTING: Final = 2
"""Share of the points that is asked under a routing that a person names."""

_OLDER_NAMES: Final = {f"ep={MASKED_RANKS}": "masked"}

STATISTICS: Final = ("mean", "p90", "worst")

EXPERT_GROUPS: Final = (64, 256)
"""Largest expert counts of the groups that shapes are reported in."""


def find_name(text: str, names: Iterable[str]) -> str:
    """Return the name that a text means: blanks, '-' and '_' are alike, and so are 'ep=4' and 'masked'.

    Raise ValueError for a text that means none of them.
    """
    names = list(names)
    meant = {_simplify(name): name for name in names}
    meant |= {_simplify(old): new for old, new in _OLDER_NAMES.items() if new in names}
    found = meant.get(_simplify(text))
    if found is None:
        raise ValueError(f"{quote(text)} is none of {', '.join(map(hyphenate, names))}")
    return found


def list_other_settings(operation: Operation) -> tuple[str, ...]:
    """Return the names of OTHER_SETTINGS that mean something to an operation."""
    return tuple(
        name
        for name, variation in OTHER_SETTINGS.items()
        if operation == SORTING or _OF_SORTING.isdisjoint(variation.changes)
    )


def hyphenate(name: str) -> str:
    """Return a name as a shell takes it without quotes."""
    return name.replace(" ", "-")


def _simplify(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def name_expert_group(shape: Shape) -> str:
    """Return the group of a shape by its number of experts."""
    low, high = EXPERT_GROUPS
    if shape.num_experts <= low:
        return f"up to {low} experts"
    return f"{low + 1} to {high} experts" if shape.num_experts <= high else f"more than {high} experts"


@dataclass(frozen=True)
class RegretLimit:
    """The largest regret that is allowed. name: the condition, None for the table as a whole.

    statistic: of the regrets; 'worst' counts only where another kernel won by more than the noise.
    Raise ValueError for a limit that is not finite or below 1.
    """

    limit: float
    name: str | None = None
    statistic: str = "worst"

    def __post_init__(self) -> None:
        check_within("limit", self.limit, 1)


def parse_limit(text: str) -> tuple[str | None, str, float]:
    """Return condition, statistic and number of '1.05', 'masked=1.05' or 'no-table:mean=1.02'. Raise ValueError."""
    name, equals, number = text.rpartition("=")
    limit = parse_number(number)
    check_within("limit", limit, 1)
    if not equals:
        return None, "worst", limit
    bare, _, statistic = name.rpartition(":")
    return (bare, statistic, limit) if statistic in STATISTICS and bare else (name, "worst", limit)
