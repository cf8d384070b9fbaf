"""Machine frames: the physical pages that a payload is filled into."""

from __future__ import annotations

FIRST_FRAME = 0x1F000
"""An arbitrary frame number: frames are handed out upwards from here."""
DEFAULT_FRAMES = 1 << 18
"""1 GiB of memory for payloads: more than the range next to Xen's text can hold."""


class DomainHeap:
    """Gives out machine frame numbers (`mfn`), one page of 4096 bytes each, until it runs dry."""

    def __init__(self, frames: int = DEFAULT_FRAMES) -> None:
        self._free = frames
        self._next = FIRST_FRAME
        self._returned: list[int] = []

    def allocate(self, pages: int) -> list[int] | None:
        """Return `pages` frame numbers, in no particular order, or None where too few are free."""
        if pages > self._free:
            return None
        self._free -= pages
        reused = self._returned[:pages]
        del self._returned[:pages]
        fresh = pages - len(reused)
        self._next += fresh
        return reused + list(range(self._next - fresh, self._next))

    def free(self, mfns: list[int]) -> None:
        """Take frames back."""
        self._free += len(mfns)
        self._returned = sorted(self._returned + mfns)
