"""Defaults of a sweep: shapes of published mixture-of-experts models, and conditions."""

from typing import Final

from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import ALIGN, ALIGN_CONDITION, SORTING, Condition, Operation

MODELS: Final[dict[str, Shape]] = {
    "mixtral-8x7b": Shape(8, 2),
    "phi-3.5-moe": Shape(16, 2),
    "gpt-oss-20b": Shape(32, 4),
    "deepseek-v2-lite": Shape(64, 6),
    "gpt-oss-120b": Shape(128, 4),
    "qwen3-235b": Shape(128, 8),
    "glm-4.5": Shape(160, 8),
    "deepseek-v3": Shape(256, 8),
    "deepseek-v3-shared": Shape(257, 9),
    "minimax-m2.5": Shape(256, 8),
    "kimi-k2": Shape(384, 8),
    "qwen3-next": Shape(512, 10),
}
"""Publishers' names in lower case, each with its global experts and experts per token.

`-shared`: the shared expert fused as one more expert.
"""

CONDITIONS: Final[dict[str, Condition]] = {
    "with-moe-buf": Condition(),
    "without-moe-buf": Condition(moe_buf=False),
    "masked": Condition(masked=True),
}
"""Conditions to sweep, by the names of the command line."""

OPERATIONS: Final[dict[str, Operation]] = {"sorting": SORTING, "align": ALIGN}
"""Operations to sweep, by the names of the command line."""

MASKED_RANKS: Final = 4
"""Ranks that share the experts in a masked sweep that does not say how many."""

HOST_SHAPES: Final[tuple[Shape, ...]] = (Shape(8, 2), Shape(64, 6), Shape(128, 4), Shape(256, 8))
"""The default on `host`: few enough to end within a minute on two cores."""


def list_default_shapes(arch: str) -> list[Shape]:
    """Return the shapes to sweep by default, without repeats."""
    return list(HOST_SHAPES) if arch == "host" else sorted(set(MODELS.values()))


def list_default_conditions(arch: str, operation: Operation = SORTING) -> tuple[Condition, ...]:
    """Return the conditions to sweep by default: on `host`, which is slow and serves nobody, the usual one alone."""
    if operation == ALIGN:
        return (ALIGN_CONDITION,)
    return (Condition(),) if arch == "host" else tuple(CONDITIONS.values())


def list_model_shapes(name: str) -> list[Shape]:
    """Return the shapes that serving a model asks for: its own, and that with its shared expert fused.

    Raise KeyError for a model without a preset.
    """
    return [MODELS[name], *(MODELS[fused] for fused in [f"{name}-shared"] if fused in MODELS)]
