"""What a design does: keep the books on addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

VmapCallback = Callable[[Sequence[int], int], "int | None"]
"""The shape of 2016's `vmap_cb_t`: machine frames and their number in, a page address out, or None."""


class Vmap(Protocol):
    """Chooses addresses and remembers which are taken. It maps nothing: that is `VirtualMemory`'s part.

    `probes` counts what the design looked at so far: words of a bitmap, slots of an array, records of a list,
    nodes of a tree. It is what the designs are compared by.
    """

    probes: int

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return a page address at which `len(mfns)` pages may stand, or None where there is none."""

    def release(self, address: int) -> None:
        """Give back what `reserve` returned; an address that is none of this design's is passed over."""

    def size(self, address: int) -> int:
        """Return how many pages the allocation at `address` has; 0 where there is none."""

    def owns(self, address: int) -> bool:
        """Tell whether `address` is recognised as one of an allocation made here."""

    def copy(self) -> Vmap:
        """Return an independent design in the same state, for asking what it would answer."""
