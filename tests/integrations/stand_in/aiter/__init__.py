"""A stand-in for AITER: the signatures, call forms and results that the integrations rely on, as of AITER's commit
e4048607, with the builtin kernels behind its two paths. It shares no code with AITER.

AITER_STAND_IN=newer plays what came after. AITER_TRITON_ONLY=1 leaves the compiled operators out, as it does in AITER.
"""

import os

if os.environ.get("AITER_TRITON_ONLY") != "1":
    from aiter.ops.moe_sorting_opus import moe_sorting_opus_fwd, moe_sorting_opus_get_workspace_size

__all__ = ["moe_sorting_opus_fwd", "moe_sorting_opus_get_workspace_size"]
