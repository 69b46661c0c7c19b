"""Whether this package's kernels do the alignments of vLLM and SGLang, and where those are. Standard library only."""

import functools
import logging
import os
from typing import Final, NamedTuple

from moesort_tune.domain.vocabulary import LOGGER

_log = logging.getLogger(LOGGER)

VARIABLE: Final = "MOESORT_TUNE_ALIGN"
"""'1': this package's kernels do what moe_align_block_size does."""


class Framework(NamedTuple):
    """A framework and its module that holds the functions to replace. package: the top of its modules."""

    title: str
    package: str
    module: str

    @property
    def function(self) -> str:
        """The name of its calls in records and in the log."""
        return f"moe_align_block_size of {self.title}"


VLLM: Final = Framework("vLLM", "vllm", "vllm._custom_ops")
"""Its moe_align_block_size fills tensors of the caller, and callers reach it as an attribute of this module."""

SGLANG: Final = Framework("SGLang", "sglang", "sglang.srt.layers.moe.moe_runner.triton_utils.moe_align_block_size")
"""Its own moe_align_block_size is imported by name in many modules, and chooses between kernels that fill tensors; of
these, this module alone holds the names."""

FRAMEWORKS: Final = {framework.package: framework for framework in (VLLM, SGLANG)}


_VALUES: Final = ("", "0", "1")


@functools.cache
def is_enabled() -> bool:
    """Return whether MOESORT_TUNE_ALIGN asks for it."""
    value = os.environ.get(VARIABLE, "")
    if value not in _VALUES:
        _log.warning("%s is %s", VARIABLE, describe_value())
    return value == "1"


def describe_value() -> str:
    """Return the value of MOESORT_TUNE_ALIGN in words."""
    value = os.environ.get(VARIABLE, "")
    return (value or "not set") if value in _VALUES else f"{value!r}, which says nothing: set it to 1 or 0"
