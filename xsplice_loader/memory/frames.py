"""Machine frames: the physical pages that memory is mapped from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_FRAME = 0x1F000
"""An arbitrary frame number: frames are handed out upwards from here."""
DEFAULT_FRAMES = 1 << 18
"""1 GiB of memory for payloads: more than the range next to Xen's text can hold."""


class DomainHeap:
    """Gives out machine frame numbers (`mfn`), one page of 4096 bytes each, until it runs dry."""

    def __init__(self, frames: int = DEFAULT_FRAMES) -> None:
        self.free_frames = frames
        self._next = FIRST_FRAME
        self._returned: list[int] = []

    def allocate_page(self) -> int | None:
        """Return a frame, or None where none is left."""
        if not self.free_frames:
            return None
        self.free_frames -= 1
        if self._returned:
            return self._returned.pop()
        self._next += 1
        return self._next - 1

    def allocate(self, pages: int) -> list[int] | None:
        """Return `pages` frames, taken one by one, or None, with all given back, where one is missing."""
        if pages > self.free_frames:
            return None
        if not self._returned:
            self.free_frames -= pages
            self._next += pages
            return list(range(self._next - pages, self._next))
        mfns: list[int] = []
        for _ in range(pages):
            mfn = self.allocate_page()
            if mfn is None:
                self.free(mfns)
                return None
            mfns.append(mfn)
        return mfns

    def free(self, mfns: Sequence[int]) -> None:
        """Take frames back."""
        self.free_frames += len(mfns)
        self._returned.extend(reversed(mfns))
