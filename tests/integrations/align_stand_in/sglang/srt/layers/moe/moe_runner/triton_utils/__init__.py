"""A package that holds the function by name, as SGLang's does."""

from sglang.srt.layers.moe.moe_runner.triton_utils.moe_align_block_size import moe_align_block_size

__all__ = ["moe_align_block_size"]
