"""Places in Xen's text that it alters when it boots, by what the processor has and what its pointers hold by then.

They are named by the same table that payloads have (`spec/04 §5.1`). What comes of them is not in any file.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from xsplice_loader.hypervisor.image import Hypervisor

START, END = b"__alt_instructions", b"__alt_instructions_end"
_FIELDS = [("site", "<i4"), ("replacement", "<i4"), ("feature", "<u2"), ("length", "u1"), ("replacement_length", "u1")]
_PADDING = [("padding", "u1"), ("private", "u1")]


class BootSites(NamedTuple):
    """The places, in ascending order of their addresses."""

    starts: np.ndarray
    ends: np.ndarray

    def bytes_in(self, address: int, size: int) -> frozenset[int]:
        """Return the addresses of those of `size` bytes that are not what the file says."""
        near = slice(*np.searchsorted(self.starts, np.array([max(address - 255, 0), address + size], np.uint64)))
        return frozenset(
            place
            for start, end in zip(self.starts[near].tolist(), self.ends[near].tolist(), strict=True)
            for place in range(max(start, address), min(end, address + size))
        )


NO_SITES = BootSites(np.empty(0, np.uint64), np.empty(0, np.uint64))


@lru_cache(maxsize=4)
def boot_sites(hypervisor: Hypervisor) -> BootSites:
    """Return the places that a hypervisor's file names; none where the file does not hold the table."""
    start, end = hypervisor.symbols.address_of(START), hypervisor.symbols.address_of(END)
    if start is None or end is None or end < start:
        return NO_SITES
    has_padding = hypervisor.own_release.alternatives_entry_size > 12
    layout = np.dtype(_FIELDS + _PADDING if has_padding else _FIELDS)
    contents = hypervisor.read(start, end - start)
    if contents is None:
        return NO_SITES
    table = np.frombuffer(contents, layout, (end - start) // layout.itemsize)
    entries = np.uint64(start) + np.arange(len(table), dtype=np.uint64) * np.uint64(layout.itemsize)
    starts = entries + table["site"].astype(np.int64).astype(np.uint64)
    sizes = table["length"].astype(np.uint64)
    if has_padding:
        sizes = sizes + table["padding"]
    order = np.argsort(starts, kind="stable")
    return BootSites(starts[order], (starts + sizes)[order])
