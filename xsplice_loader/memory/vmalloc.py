"""`vmalloc` and its kin: frames from the heap, an address from a design, and both brought together.

The order is Xen's: frames first, page by page, then an address for them, then the mapping. Whatever fails, all that
was taken so far is given back (`spec/02 §6`, `§7.1`).
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from xsplice_loader.memory.address_space import AddressSpace, MappingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.frames import DomainHeap
    from xsplice_loader.memory.mapping import Mapping
    from xsplice_loader.memory.vmap.protocol import Vmap, VmapCallback


class OutOfMemoryError(Exception):
    """ENOMEM; the message says what was missing, as a sentence without a full stop."""


class VirtualMemory:
    """Allocates mapped pages at addresses that a design chooses."""

    def __init__(self, heap: DomainHeap, space: AddressSpace, vmap: Vmap, *, anywhere: bool = False) -> None:
        """`anywhere`: take any page address the design names, whatever else lies there."""
        self.heap = heap
        self.space = space
        self.vmap = vmap
        self.anywhere = anywhere

    def vmalloc(self, pages: int) -> Mapping:
        """Return `pages` fresh zeroed pages, mapped where the design says.

        Raises:
            OutOfMemoryError: there are not as many frames, or no address for them.
        """
        mfns = self._frames(pages)
        try:
            return self._map(self.vmap.reserve(tuple(mfns)), mfns)
        except BaseException:
            self.heap.free(mfns)
            raise

    def vmalloc_cb(self, pages: int, callback: VmapCallback) -> Mapping:
        """Return `pages` fresh zeroed pages, mapped where a callback says (`spec/02 §7.1`).

        The design is not asked and keeps no books on them.

        Raises:
            OutOfMemoryError: there are not as many frames, or the callback's answer cannot be used.
        """
        mfns = self._frames(pages)
        try:
            return self._mapped(_page_address(callback(tuple(mfns), pages), pages), mfns)
        except BaseException:
            self.heap.free(mfns)
            raise

    def vunmap(self, mapping: Mapping) -> Sequence[int]:
        """Unmap pages and give their address back; return the frames, which are the caller's now."""
        self.space.unmap(mapping)
        # A range of no pages is never given back (spec/07 5): by now another one may begin at its address.
        if mapping.mfns:
            self.vmap.release(mapping.start)
        return mapping.mfns

    def vfree(self, mapping: Mapping) -> None:
        """Unmap pages and give back address and frames."""
        self.heap.free(self.vunmap(mapping))

    def _frames(self, pages: int) -> list[int]:
        mfns = self.heap.allocate(pages)
        if mfns is None:
            raise OutOfMemoryError(f"the host has no {pages} free pages")
        return mfns

    def _map(self, answer: int | None, mfns: Sequence[int]) -> Mapping:
        address = _page_address(answer, len(mfns))
        try:
            return self._mapped(address, mfns)
        except OutOfMemoryError:
            self.vmap.release(address)
            raise

    def _mapped(self, address: int, mfns: Sequence[int]) -> Mapping:
        try:
            return self.space.map_pages(address, mfns, anywhere=self.anywhere)
        except MappingError as error:
            raise OutOfMemoryError(f"the address chosen for the payload, {address:#x}, {error}") from None


def _page_address(answer: int | None, pages: int) -> int:
    """Return a design's or callback's answer as a number; what answers may have been written by anybody."""
    if answer is None:
        raise OutOfMemoryError(f"there is no free range of {pages} pages for the payload")
    try:
        return index(answer)
    except TypeError:
        raise OutOfMemoryError(f"the address chosen for the payload, {answer!r}, is no number") from None
