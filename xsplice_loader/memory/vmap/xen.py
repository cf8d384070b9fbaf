"""The final design: a bitmap for every registered range, and the caller says which range he wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.vmap.bitmap import Bitmap


class XenVmap:
    """Allocates from one of the two ranges; looks up in both, the default one first (`spec/02 §6.4`)."""

    def __init__(self, default: Bitmap, arena: Bitmap, *, chosen: Bitmap) -> None:
        """`chosen` is the one of the two ranges that payloads are given addresses from."""
        self.default = default
        self.arena = arena
        self.chosen = chosen

    @property
    def probes(self) -> int:
        """Runs of set or clear bits looked at so far."""
        return self.default.probes + self.arena.probes

    @probes.setter
    def probes(self, count: int) -> None:
        self.default.probes, self.arena.probes = 0, count

    def copy(self) -> XenVmap:
        """Return an independent finder in the same state."""
        default, arena = self.default.copy(), self.arena.copy()
        return XenVmap(default, arena, chosen=default if self.chosen is self.default else arena)

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return a page address for `len(mfns)` pages, or None."""
        return self.chosen.allocate(len(mfns))

    def release(self, address: int) -> None:
        """Give back what `reserve` returned."""
        (self.default if self.default.index(address) else self.arena).free(address)

    def size(self, address: int) -> int:
        """Return how many pages the allocation at `address` has; 0 where there is none."""
        return self.default.size(address) or self.arena.size(address)

    def owns(self, address: int) -> bool:
        """Tell whether `address` is of an allocation made here."""
        return self.size(address) > 0
