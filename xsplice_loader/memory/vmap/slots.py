"""The array that the mail of 1 April 2016 offers instead of a list: one address for every bit of a bitmap.

Konrad Rzeszutek Wilk named it beside his patch (`spec/05 §1`) and posted no code; this is the least that answers the
description (`spec/02 §7`, stage c).

*Where to put an area*: a second bitmap over the payload range finds a run of clear bits, with its guard bit, like the
first one does. The address is then written into the slot of the run's first bit.

*How long is it*: the whole array is searched for the address, and the run of set bits at the same place gives the
size. A slot can hold any address, so the array would serve addresses that no formula derives from their bit.

*Cost*: all slots for every size and every free, loaded or not: 32K for the 128 MiB of the mail, 256 KiB of memory;
for the 64 GiB that vmap may grow to, 16M slots and 128 MiB. `probes` counts slots looked at, and words of the bitmap.

*What was wrong with it as described*: only the exact start of an area is found; and where the address follows from
the bit, as here, the bit follows from the address: what the array is searched for can be computed. That is what the
final design does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.memory.vmap.bitmap import Bitmap
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

_EMPTY = 0


class SlotsVmap:
    """Finds addresses with a bitmap, and looks them up in an array."""

    def __init__(self, start: int, end: int) -> None:
        """Register the range from `start` to `end`, page addresses."""
        self._bitmap = Bitmap(start, end)
        self._slots = np.zeros(self._bitmap.end, np.uint64)
        self._probes = 0

    @property
    def probes(self) -> int:
        """Slots of the array, and words of the bitmap, looked at so far."""
        return self._probes + self._bitmap.probes

    @probes.setter
    def probes(self, count: int) -> None:
        self._probes, self._bitmap.probes = count, 0

    def copy(self) -> SlotsVmap:
        """Return an independent copy."""
        twin = object.__new__(SlotsVmap)
        twin._bitmap = self._bitmap.copy()
        twin._slots = self._slots.copy()
        twin._probes = 0
        return twin

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return a page address for `len(mfns)` pages, or None."""
        pages = len(mfns) or 1  # a run of no bits could not be told from the next one at its place
        address = self._bitmap.allocate(pages)
        if address is None:
            return None
        index = (address - self._bitmap.base) // PAGE_SIZE
        if index + pages > len(self._slots):
            # The bitmap of a small range is longer than the range (spec/02 §6.2); the array is not.
            self._bitmap.free(address)
            return None
        self._slots[index] = address
        return address

    def release(self, address: int) -> None:
        """Give back what `reserve` returned."""
        index = self._find(address)
        if index is not None:
            self._slots[index] = _EMPTY
            self._bitmap.free(address)

    def size(self, address: int) -> int:
        """Return the pages of the area that begins exactly at `address`; 0 where there is none."""
        return 0 if self._find(address) is None else self._bitmap.size(address)

    def owns(self, address: int) -> bool:
        """Tell whether an area begins exactly at `address`."""
        return self._find(address) is not None

    def _find(self, address: int) -> int | None:
        self._probes += len(self._slots)
        if not _EMPTY < address < 1 << 64:
            return None
        found = np.flatnonzero(self._slots == np.uint64(address))
        return int(found[0]) if len(found) else None
