"""The global memory of an emulated GPU: allocations, and a check of every address that a kernel touches."""

import numpy as np
import numpy.typing as npt

_ALIGNMENT = 256


class MemoryFaultError(AssertionError):
    """A kernel touched global memory that nobody allocated for it."""


class GlobalMemory:
    """Allocations that are as little aligned as a tensor of their size may be.

    The kernels promise to need no more than their elements' alignment, and only moe_buf has elements of less than 4
    bytes. An allocation of an odd size can be nothing else: it lies 1 byte behind an aligned address, others lie 4.
    """

    def __init__(self) -> None:
        self._owners: dict[int, npt.NDArray[np.uint8]] = {}
        self._begins = np.empty(0, np.int64)
        self._ends = np.empty(0, np.int64)

    def allocate(self, nbytes: int) -> int:
        """Return the address of `nbytes` new bytes."""
        owner = np.empty(nbytes + 2 * _ALIGNMENT, np.uint8)
        aligned = -(-owner.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        address = aligned + (4 if nbytes % 2 == 0 else 1)
        self._owners[address] = owner
        self._note(np.append(self._begins, address), np.append(self._ends, address + nbytes))
        return address

    def view(self, address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return the first `nbytes` bytes of an allocation."""
        owner = self._owners[address]
        begin = address - owner.ctypes.data
        return owner[begin : begin + nbytes]

    def free(self, address: int) -> None:
        """Forget an allocation."""
        del self._owners[address]
        kept = self._begins != address
        self._note(self._begins[kept], self._ends[kept])

    def check(self, addresses: npt.NDArray[np.int64], nbytes: int, what: str) -> None:
        """Raise MemoryFaultError unless every access of `nbytes` bytes lies inside one allocation and is aligned.

        Words must lie on a multiple of 4: the emulator drops the lowest bits of their addresses.
        """
        if (addresses % min(nbytes, 4)).any():
            raise MemoryFaultError(
                f"{what} touches {nbytes} bytes at an address that is not aligned to {min(nbytes, 4)}"
            )
        owner = np.searchsorted(self._begins, addresses, side="right") - 1
        inside = (owner >= 0) & (addresses + nbytes <= self._ends[owner]) if len(self._ends) else addresses < 0
        if not inside.all():
            address = int(addresses[~inside][0])
            raise MemoryFaultError(f"{what} touches {nbytes} bytes at {address:#x}{self._nearest(address)}")

    def _note(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        order = np.argsort(begins)
        self._begins, self._ends = begins[order], ends[order]

    def _nearest(self, address: int) -> str:
        below = int(np.searchsorted(self._begins, address, side="right")) - 1
        if below < 0:
            return ", below every allocation"
        size = int(self._ends[below] - self._begins[below])
        return f", {address - int(self._begins[below])} bytes into an allocation of {size}"
