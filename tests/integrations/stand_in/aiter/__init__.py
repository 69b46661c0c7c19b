"""A stand-in for AITER: the signatures, call forms and results that the integrations rely on, as of AITER's commit
e4048607, with the builtin kernels behind its two paths. It shares no code with AITER.

AITER_STAND_IN names another generation: 'newer' for what came after, '0.1.13' for one without a workspace.
"""

from aiter.ops.moe_sorting_opus import moe_sorting_opus_fwd, moe_sorting_opus_get_workspace_size

__all__ = ["moe_sorting_opus_fwd", "moe_sorting_opus_get_workspace_size"]
