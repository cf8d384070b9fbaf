"""Addresses on the simulated part of Xen's heap, which is part of the direct map.

Which addresses a real host gives to structures, no file says. They are put where nothing else is simulated, and, to
find out what depends on that, at other addresses as well: those differ in every bit that may differ between two hosts,
and so they are in the opposite order.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_map import DIRECTMAP
from xsplice_loader.memory.partly_known import UnknownRange
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.mapping import Mapping

HEAP = DIRECTMAP[0] + 0x8000_0000
"""Where the simulated part of Xen's heap begins."""
ALIGNMENT = 16
"""Of what Xen's allocator returns."""
PLACEHOLDERS = DIRECTMAP[1] - (1 << 30)
"""Where addresses begin that are used instead of unknown ones; nothing is mapped from here on."""
_HEAP_BITS = (1 << 40) - ALIGNMENT
"""The bits of an address on the heap that may differ: of a host with up to 1 TiB."""
_PLACEHOLDER_BITS = (1 << 30) - PAGE_SIZE


class Objects(NamedTuple):
    """Objects on the heap that were allocated together."""

    mapping: Mapping
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    gaps: tuple[UnknownRange, ...]
    """What else is in these pages: memory of Xen's that is not simulated."""


def allocate(memory: AddressSpace, sizes: Sequence[int], original: Objects | None = None) -> Objects:
    """Allocate objects of some sizes; with `original`, copies of these at other addresses."""
    if original is None:
        starts = [_free_place(memory)]
        for size, following in pairwise(sizes):
            # So far apart that they fit in the opposite order as well.
            starts.append(starts[-1] + -(-max(size, following) // ALIGNMENT) * ALIGNMENT)
    else:
        starts = [start ^ _HEAP_BITS for start in original.starts]
    low = min(starts) // PAGE_SIZE * PAGE_SIZE
    pages = -(-max(start + size - low for start, size in zip(starts, sizes, strict=True)) // PAGE_SIZE)
    frame = (low - DIRECTMAP[0]) // PAGE_SIZE
    mapping = memory.map_pages(low, range(frame, frame + pages), anywhere=True)
    gaps = []
    for start, size in [*sorted(zip(starts, sizes, strict=True)), (mapping.end, 0)]:
        if low < start:
            gaps.append(UnknownRange(low, start - low, "what Xen's heap holds next to struct payload"))
        low = max(low, start + size)
    for gap in gaps:
        mapping.mark_unknown(gap)
    return Objects(mapping, tuple(starts), tuple(sizes), tuple(gaps))


def placeholder(number: int, *, is_copy: bool) -> int:
    """Return one of the addresses that are used instead of unknown ones; a copy has others."""
    address = PLACEHOLDERS + number * PAGE_SIZE
    return address ^ _PLACEHOLDER_BITS if is_copy else address


def is_placeholder(address: int) -> bool:
    """Tell whether an address is one that is used instead of an unknown one."""
    return PLACEHOLDERS <= address < DIRECTMAP[1]


def _free_place(memory: AddressSpace) -> int:
    """Return the lowest place on the heap after all that is mapped there."""
    ends = [mapping.end for mapping in memory.mappings if HEAP <= mapping.start < PLACEHOLDERS]
    # A page stays free between two, so that running off one is found out.
    return max(ends, default=HEAP) + PAGE_SIZE
