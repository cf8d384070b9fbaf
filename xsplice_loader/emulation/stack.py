"""The stack that a function runs on.

Xen's stacks are blocks of 8 pages. The topmost bytes hold what Xen has to know of the processor it runs on (`current`
is found there), below are two pages of ordinary stack, and the rest is for special purposes or for nothing. The block
stands where Xen's heap would be. What Xen keeps at its top is not modelled: that page is not mapped here.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_map import DIRECTMAP
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from xsplice_loader.memory.address_space import AddressSpace

SIZE = 8 * PAGE_SIZE
USABLE = 2 * PAGE_SIZE
"""Bytes that a function may use."""
_FIRST_BASE = DIRECTMAP[0] + 0x7F000000


class Stack(NamedTuple):
    """A block of pages for one run."""

    base: int
    """Its lowest address, a multiple of its size."""

    @property
    def top(self) -> int:
        """Where what can be used ends."""
        return self.base + SIZE - PAGE_SIZE

    @property
    def pages(self) -> range:
        """The addresses of the usable pages."""
        return range(self.top - USABLE, self.top, PAGE_SIZE)

    @property
    def return_address(self) -> int:
        """Where the function returns to: the end of the run. Nothing of the host's is there."""
        return self.base

    def is_overrun(self, address: int) -> bool:
        """Tell whether an address is one that a stack that was used up grows into."""
        return self.base < address < self.top - USABLE

    def is_processor_data(self, address: int) -> bool:
        """Tell whether an address is one at which Xen keeps the data of the processor."""
        return self.top <= address < self.base + SIZE


def free_stack(memory: AddressSpace) -> Stack:
    """Return a stack where nothing of the host's is mapped."""
    taken = [(mapping.start, mapping.end) for mapping in memory.mappings]
    for base in count(_FIRST_BASE, 2 * SIZE):
        if not any(start < base + SIZE and base < end for start, end in taken):
            return Stack(base)
    raise AssertionError("there is no end of addresses")
