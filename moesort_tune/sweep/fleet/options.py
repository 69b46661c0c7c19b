"""Which cards a command uses, as a person asked for it."""

from dataclasses import dataclass
from typing import Final, Literal

EngineName = Literal["local", "ray"]
ENGINES: Final[tuple[EngineName, ...]] = ("local", "ray")

ALL: Final = "all"
AUTO_ADDRESS: Final = "auto"

Devices = tuple[int, ...] | None
"""Numbers of devices; None for all of them."""


@dataclass(frozen=True)
class Fleet:
    """Cards of this machine by number, or all of a Ray cluster. address: of the cluster, as ray.init takes it."""

    engine: EngineName = "local"
    devices: Devices = (0,)
    address: str = AUTO_ADDRESS

    @property
    def is_one_device(self) -> bool:
        """Whether one device of this machine is meant, which is used whatever else runs on it."""
        return self.engine == "local" and self.devices is not None and len(self.devices) == 1

    @property
    def ordinal(self) -> int:
        """The number of that device."""
        return self.devices[0] if self.devices else 0
