"""Notice who watches torch's operators, so that plain calls can skip torch's dispatcher."""

from collections.abc import Callable
from typing import Final

import torch

_dispatch_modes: Final[Callable[[], int]] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
"""Number of modes that watch every operator; 1 where torch does not report it."""


_functorch_level: Final[Callable[[], int | None]] = getattr(torch._C._functorch, "maybe_current_level", lambda: 0)
"""Depth of the transform of torch.func that is running, None outside of them, which new tensors are part of."""


def is_watched() -> bool:
    """Return whether a torch operator is expected: by a compiler, a transform of torch.func, a mode, a profiler.

    Plain eager calls skip torch's dispatcher, which would cost them 10 us more.
    """
    return (
        torch.compiler.is_dynamo_compiling()
        or _functorch_level() is not None
        or _dispatch_modes() > 0
        or torch.autograd._profiler_enabled()
    )
