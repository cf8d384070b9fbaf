"""What a finder of addresses does for the loader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

VmapCallback = Callable[[Sequence[int], int], "int | None"]
"""The shape of 2016's `vmap_cb_t`: machine frames and their number in, a page address out, or None."""


class Vmap(Protocol):
    """Chooses addresses for payloads and remembers which are taken. It maps nothing."""

    def vmalloc(self, mfns: Sequence[int]) -> int | None:
        """Return a page address at which `len(mfns)` pages may stand, or None where there is none."""

    def vfree(self, address: int) -> None:
        """Give back what `vmalloc` returned."""

    def size(self, address: int) -> int:
        """Return how many pages the allocation at `address` has; 0 where there is none."""

    def owns(self, address: int) -> bool:
        """Tell whether `address` is of an allocation made here."""

    def copy(self) -> Vmap:
        """Return an independent finder in the same state, for asking what it would answer."""
