"""Choose by measurement which mixture-of-experts sorting kernel runs."""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from moesort_tune.operator.align import fill_aligned, moe_align_block_size
    from moesort_tune.operator.learned import save
    from moesort_tune.operator.recording import record_routing
    from moesort_tune.operator.torch_operator import SortedTokens, learned, moe_sorting

__all__ = [
    "SortedTokens",
    "__version__",
    "fill_aligned",
    "learned",
    "moe_align_block_size",
    "moe_sorting",
    "record_routing",
    "save",
]

__version__ = "0.1.0"

_LAZY: Final = {
    "SortedTokens": "moesort_tune.operator.torch_operator",
    "fill_aligned": "moesort_tune.operator.align",
    "learned": "moesort_tune.operator.torch_operator",
    "moe_align_block_size": "moesort_tune.operator.align",
    "moe_sorting": "moesort_tune.operator.torch_operator",
    "record_routing": "moesort_tune.operator.recording",
    "save": "moesort_tune.operator.learned",
}
"""Names whose modules need torch: imported on first use, so that a serving process can do without it."""


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
