"""Kernel names, policies, timing modes, limits and defaults, each defined only here. Standard library only."""

from typing import Final, Literal, NamedTuple, get_args

KernelName = str
"""Name of a kernel, as its provider declares it."""

NAME_PATTERN: Final = r"[a-z][a-z0-9_]{0,31}"
"""Regular expression of the names of kernels and providers, which stand in tables and on the command line."""


RESERVED_NAMES: Final = frozenset(("all", "automatic", "tie"))
"""Words that stand beside names of kernels and providers with a meaning of their own."""


class Candidate(NamedTuple):
    """A kernel that a provider offers. policy: its number for `dispatch_policy`, never 0."""

    name: KernelName
    policy: int


AUTOMATIC: Final = 0
"""The policy that leaves the choice to the table, or to the kernels' own rule."""

ONESHOT: Final = Candidate("oneshot", 1)
"""One launch, which keeps a bit for each (token, expert) in LDS."""

MULTIPHASE: Final = Candidate("multiphase", 2)
"""Several launches on all compute units, for any number of tokens."""

WAVE: Final = Candidate("wave", 3)
"""One launch, in which each wave compares a word of (token, slot) pairs with all of them: for the fewest tokens."""

Operation = Literal["moe_sorting", "moe_align_block_size"]
"""The computation of kernels, the same for all candidates of a provider."""

SORTING: Final[Operation] = "moe_sorting"
"""AITER's operation, which every provider computes that names none."""

ALIGN: Final[Operation] = "moe_align_block_size"
"""The operation of vLLM and SGLang."""


class Condition(NamedTuple):
    """The work of a call besides sorting, on which its time depends.

    moe_buf: zero a moe_buf. masked: read a local_expert_mask.
    """

    moe_buf: bool = True
    masked: bool = False

    def list_unusual(self) -> tuple[str, ...]:
        """Return what distinguishes such calls from the usual ones: 'without moe_buf', 'masked', both or nothing."""
        return (() if self.moe_buf else ("without moe_buf",)) + (("masked",) if self.masked else ())

    def __str__(self) -> str:
        return f"{'with' if self.moe_buf else 'without'} moe_buf{', masked' if self.masked else ''}"


ALIGN_CONDITION: Final = Condition(moe_buf=False)
"""The only condition of the align operation: it zeroes nothing, and an expert map changes one load of a pair."""


LOGGER: Final = "moesort_tune"
"""Name of the logger of every message."""

Timing = Literal["graph", "eager"]
"""Ways of timing kernels: as a replayed graph, as serving runs them, or launched one by one."""

TIMINGS: Final[tuple[Timing, ...]] = get_args(Timing)

LaunchMode = Literal["graph", "replay", "eager"]
"""A way to launch kernels. graph: many in one graph, as a sweep times and serving replays; replay: a graph of one to
four launches, replayed over and over; eager: launched one by one while the host runs ahead."""

LAUNCH_MODES: Final[tuple[LaunchMode, ...]] = get_args(LaunchMode)

MAX_TOKENS: Final = (1 << 24) - 1
"""Largest number of tokens: a token id has 24 bits of an output element."""

MAX_EXPERTS: Final = 1024

MAX_TOPK: Final = 255
"""A slot has 8 bits of an output element, and `topk` itself marks padding."""

MAX_UNIT_SIZE: Final = 1024
"""Rows of the largest GEMM tile."""

DEFAULT_PROVIDER: Final = "builtin"
"""Provider of the kernels where a command or a call names none."""

DEFAULT_TIMING: Final[Timing] = "graph"

DEFAULT_UNIT_SIZE: Final = 32

DEFAULT_MODEL_DIM: Final = 4096

DEFAULT_TOKENS: Final = (1, 16384)
"""First and last token count of a sweep, and of a row that does not say on which it was measured."""
