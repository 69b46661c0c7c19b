"""From the options of a command to the cards that it uses."""

from moesort_tune.sweep.fleet.local import LocalEngine
from moesort_tune.sweep.fleet.opening import Engine
from moesort_tune.sweep.fleet.options import Fleet
from moesort_tune.sweep.fleet.ray_cluster import Cluster, RayEngine


def open_engine(fleet: Fleet, *, arch: str, limit_s: float) -> Engine:
    """Return the cards, which must be of `arch` unless that is 'auto'. Raise MoesortTuneError."""
    if fleet.engine == "ray":
        return RayEngine(Cluster(fleet.address), arch, limit_s)
    return LocalEngine(arch, fleet.devices, limit_s)
