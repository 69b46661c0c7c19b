"""Find the device that Ray assigned to a process, by the variables that hide devices from HIP and CUDA.

Ray sets one of them to the assigned device, which one depends on its version and on what it finds on the node; with
RAY_EXPERIMENTAL_NOSET_* it sets none. A node may have others set already. ROCR_VISIBLE_DEVICES selects first; HIP's
and CUDA's numbers count what that leaves, and AMD's runtime reads CUDA's only where HIP's is not set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moesort_tune.errors import MoesortTuneError

OUTER: Final = "ROCR_VISIBLE_DEVICES"
INNER: Final = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")


class AssignmentError(MoesortTuneError):
    """A device that Ray assigned and the process cannot see."""


@dataclass(frozen=True)
class Assignment:
    """The number of the assigned device among those that are visible without the variables `misleading`."""

    ordinal: int
    misleading: tuple[str, ...] = ()


def find_assigned(assigned: Sequence[str], environment: Mapping[str, str]) -> Assignment:
    """Return the device that Ray assigned, of which it may be the only one. Raise AssignmentError."""
    if len(assigned) != 1:
        raise AssignmentError(f"Ray assigned {len(assigned)} GPUs to a worker that needs one: {', '.join(assigned)}")
    lists = {name: environment[name].split(",") for name in (OUTER, *INNER) if environment.get(name)}
    narrowed = next((name for name, devices in lists.items() if devices == list(assigned)), None)
    if narrowed is not None:
        return Assignment(0, tuple(name for name in INNER if name in lists and name != narrowed))
    innermost = next((name for name in (*INNER, OUTER) if name in lists), None)
    if innermost is not None:
        return Assignment(_find_index(assigned[0], innermost, lists[innermost]))
    if not assigned[0].isdecimal():
        raise AssignmentError(f"Ray assigned the GPU {assigned[0]}, which is no number, and set no variable for it")
    return Assignment(int(assigned[0]))


def _find_index(assigned: str, variable: str, devices: Sequence[str]) -> int:
    if assigned not in devices:
        raise AssignmentError(
            f"Ray assigned the GPU {assigned}, but {variable}={','.join(devices)} hides it; start the node without the"
            " variable, or with it set before `ray start`"
        )
    return devices.index(assigned)
