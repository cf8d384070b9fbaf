"""Pages of a host's memory on loan to the emulator: copied when first touched, with a record of what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.memory.partly_known import PartlyKnown
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.releases import Permissions

PAGE_MASK = PAGE_SIZE - 1


class Page:
    """One page, and what the emulator has to know of it."""

    __slots__ = ("address", "frame", "is_own", "permissions", "unknown", "written")

    def __init__(self, address: int, permissions: str, frame: int, *, unknown: bytearray | None, is_own: bool) -> None:
        self.address = address
        self.permissions = permissions
        """`r`, `w` and `x`, as far as each is allowed."""
        self.frame = frame
        """Where its bytes are in the emulator's own memory."""
        self.unknown = unknown
        """1 for each byte whose contents nobody knows; None: all are known."""
        self.is_own = is_own
        """It belongs to the emulation, not to the host."""
        self.written: dict[int, int] = {}
        """What was written, by offset."""

    def write(self, offset: int, contents: bytes) -> None:
        """Note that bytes were written."""
        self.written.update(enumerate(contents, offset))
        if self.unknown is not None:
            self.unknown[offset : offset + len(contents)] = bytes(len(contents))

    def is_known(self, offset: int, size: int) -> bool:
        """Tell whether the contents of bytes, as far as they are in this page, are known."""
        return self.unknown is None or not any(self.unknown[offset : offset + size])


class HostPages:
    """What a host's memory holds, page by page."""

    def __init__(self, memory: AddressSpace, may_write: Callable[[int, Permissions], bool]) -> None:
        """`may_write(page, permissions)` tells whether a page may be written although its permissions do not say so."""
        self._memory = memory
        self._may_write = may_write

    def permissions_of(self, address: int) -> str | None:
        """Return what the page at `address` may be used for, None where nothing is mapped."""
        # Where an image does not fill its last page, its first byte is mapped; its first page likewise at the end.
        for place in (address, address + PAGE_MASK):
            try:
                permissions = self._memory.protections_of(place, 1)[0].permissions
            except MemoryFault:
                continue
            if "w" not in permissions and self._may_write(address, permissions):
                return permissions.replace("-", "w", 1)
            return permissions
        return None

    def contents_of(self, address: int) -> tuple[bytes, bytearray | None]:
        """Return a page's bytes, 0 for those that are not known, and a mark for each of those."""
        found = self._partly(address, PAGE_SIZE)
        return bytes(found.contents), None if found.is_known else found.unknown

    def before(self, address: int, size: int) -> bytes | None:
        """Return what stands in the host's memory; None where some of it is not known."""
        parts = [self._read(start, len(part)) for start, part in by_pages(address, bytes(size))]
        return None if None in parts else b"".join(part for part in parts if part is not None)

    def _read(self, address: int, size: int) -> bytes | None:
        try:
            return self._memory.read(address, size)
        except MemoryFault:
            return None

    def _partly(self, address: int, size: int) -> PartlyKnown:
        try:
            return self._memory.read_partly(address, size)
        except MemoryFault:
            pass
        # Where an image does not fill its last page, only part of it is mapped.
        found = PartlyKnown(size)
        if size > 1:
            half = size // 2
            for start, length in ((0, half), (half, size - half)):
                found.take(start, self._partly(address + start, length))
        return found


def runs_of(pages: list[Page]) -> Iterator[tuple[int, bytes]]:
    """Return what was written into the host's pages, neighbouring bytes together, by address."""
    start, run = 0, bytearray()
    for page in sorted((page for page in pages if not page.is_own), key=lambda page: page.address):
        for offset in sorted(page.written):
            if page.address + offset != start + len(run):
                if run:
                    yield start, bytes(run)
                start, run = page.address + offset, bytearray()
            run.append(page.written[offset])
    if run:
        yield start, bytes(run)


def by_pages(address: int, contents: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut bytes where one page ends and the next begins; return the address of each piece, and the piece."""
    while contents:
        size = PAGE_SIZE - (address & PAGE_MASK)
        yield address, contents[:size]
        address, contents = address + size, contents[size:]
