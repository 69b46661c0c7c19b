"""Shapes of published mixture-of-experts models: global experts and experts per token."""

from typing import Final

from moesort_tune.domain.shape import Shape

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
"""Publishers' names in lower case; `-shared`: the shared expert fused as one more expert."""

HOST_SHAPES: Final[tuple[Shape, ...]] = (Shape(8, 2), Shape(64, 6), Shape(128, 4), Shape(256, 8))
"""The default on `host`: few enough to end within a minute on two cores."""


def list_default_shapes(arch: str) -> list[Shape]:
    """Return the shapes to sweep by default, without repeats."""
    return list(HOST_SHAPES) if arch == "host" else sorted(set(MODELS.values()))
