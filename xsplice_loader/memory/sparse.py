"""Zeroed memory of which only those pages that are written take memory.

A payload of a few kilobytes can ask for alignments that spread it over the whole range for payloads, 1 GiB: Xen maps
all of those pages, but nearly all stay as they were.
"""

from __future__ import annotations

import mmap

import numpy as np

_LARGE = 4 << 20
"""Bytes from which on the system is asked for pages of its own: below, numpy's zeros cost less than that."""
_BLOCK = 64 << 10


class HostMemoryError(MemoryError):
    """The machine that this program runs on cannot allocate what is to be simulated."""


def zeros(size: int) -> np.ndarray:
    """Return `size` zero bytes, as uint8.

    Raises:
        HostMemoryError: they cannot be allocated.
    """
    try:
        if size < _LARGE:
            return np.zeros(size, np.uint8)
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, MemoryError, OverflowError, ValueError):
        raise HostMemoryError(f"cannot allocate {-(-size >> 20)} MiB for the pages of a payload") from None
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # One byte in each 2 MiB would otherwise take all of them.
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, np.uint8)


def copied(contents: np.ndarray) -> np.ndarray:
    """Return a copy of whole pages that takes memory only for what is not zero.

    Raises:
        HostMemoryError: it cannot be allocated.
    """
    if len(contents) < _LARGE:
        return contents.copy()
    copy = zeros(len(contents))
    for start in range(0, len(contents), _BLOCK):
        block = contents[start : start + _BLOCK]
        if block.view(np.uint64).any():
            copy[start : start + _BLOCK] = block
    return copy
