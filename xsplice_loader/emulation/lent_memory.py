"""The memory that the emulator works in: a pool of frames, filled with the host's pages as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xsplice_loader.emulation.pages import PAGE_MASK, Page
from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.emulation.pages import HostPages

FIRST_FRAME = 0x100000
FRAMES = 16384
"""Pages that one run may touch: 64 MiB."""
HLT = b"\xf4"
NOWHERE = FIRST_FRAME - PAGE_SIZE
"""A frame of `hlt`, for fetches from where nothing may be executed."""
_MAX_INSTRUCTION = 15


class AccessError(Exception):
    """Memory that cannot be read on the program's behalf."""

    def __init__(self, address: int, *, is_unknown: bool) -> None:
        super().__init__(address)
        self.address = address
        self.is_unknown = is_unknown
        """It is there, but nobody knows what it holds."""


class LentMemory:
    """Pages on loan from a host, and the frames that hold them. Every address is one of the program's, 64 bits."""

    def __init__(self, host: HostPages, processor: Any, exhausted: Callable[[], None]) -> None:
        """Set up the pool in the emulated processor; `exhausted` is called when a page finds no room in it."""
        self._host = host
        self._processor = processor
        self._exhausted = exhausted
        self._pages: dict[int, Page | None] = {}
        self._frames: list[Page] = []
        processor.mem_map(NOWHERE, (FRAMES + 1) * PAGE_SIZE)
        processor.mem_write(NOWHERE, HLT * PAGE_SIZE)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes on the program's behalf.

        Raises:
            AccessError: some byte cannot be read, or is not known.
        """
        out = b""
        while len(out) < size:
            place = (address + len(out)) & ADDRESS_MASK
            offset = place & PAGE_MASK
            page = self.page(place - offset)
            step = min(PAGE_SIZE - offset, size - len(out))
            if page is None or "r" not in page.permissions:
                raise AccessError(place, is_unknown=False)
            if not page.is_known(offset, step):
                raise AccessError(place, is_unknown=True)
            out += bytes(self._processor.mem_read(page.frame + offset, step))
        return out

    def read_string(self, address: int, limit: int) -> bytes:
        """Return the NUL-terminated string at `address`, cut at `limit` bytes.

        Raises:
            AccessError: some byte cannot be read, or is not known.
        """
        out = b""
        while len(out) < limit:
            out += self.read((address + len(out)) & ADDRESS_MASK, 1)
            if out.endswith(b"\0"):
                return out[:-1]
        return out

    @property
    def touched(self) -> list[Page]:
        """The pages that were used."""
        return self._frames

    def code_at(self, address: int) -> tuple[bytes, int | None]:
        """Return up to 15 bytes of code, and the address behind them if nothing can be executed there."""
        code = b""
        while len(code) < _MAX_INSTRUCTION:
            place = (address + len(code)) & ADDRESS_MASK
            offset = place & PAGE_MASK
            page = self.page(place - offset)
            if page is None or "x" not in page.permissions:
                return code, place
            step = min(PAGE_SIZE - offset, _MAX_INSTRUCTION - len(code))
            code += bytes(self._processor.mem_read(page.frame + offset, step))
        return code, None

    def first_unknown(self, address: int, size: int) -> int | None:
        """Return the first of some bytes that is not known, None if there is none; what is not mapped is none."""
        for place in range(address, address + size):
            page = self.page(place & ADDRESS_MASK & ~PAGE_MASK)
            if page is not None and not page.is_known(place & PAGE_MASK, 1):
                return place
        return None

    def page(self, address: int) -> Page | None:
        """Return the page at a page's address, on loan from the host if need be; None where nothing is mapped."""
        if address not in self._pages:
            permissions = self._host.permissions_of(address)
            if permissions is None:
                self._pages[address] = None
            elif len(self._frames) == FRAMES:
                self._exhausted()
                return None
            else:
                contents, unknown = self._host.contents_of(address)
                self.lend(address, permissions, contents, unknown, is_own=False)
        return self._pages[address]

    def lend(self, address: int, permissions: str, contents: bytes, unknown: bytearray | None, *, is_own: bool) -> None:
        """Put a page into a frame of its own."""
        frame = FIRST_FRAME + len(self._frames) * PAGE_SIZE
        self._processor.mem_write(frame, contents)
        page = Page(address, permissions, frame, unknown=unknown, is_own=is_own)
        self._frames.append(page)
        self._pages[address] = page

    def unknown_in(self, frame: int, size: int) -> int | None:
        """Return the address of a byte that is not known, of `size` bytes that are read at a place in the frames."""
        page, offset = self._page_at(frame)
        if page.unknown is None and offset + size <= PAGE_SIZE:
            return None
        return self.first_unknown(page.address + offset, size)

    def note_write(self, frame: int, contents: bytes) -> bool:
        """Take note of a write to a place in the frames; tell whether it may have changed code."""
        page, offset = self._page_at(frame)
        fitting = PAGE_SIZE - offset
        if len(contents) > fitting:
            following = self.page(page.address + PAGE_SIZE)
            if following is None or "w" not in following.permissions:
                # The write is about to fault, with nothing written.
                return False
            following.write(0, contents[fitting:])
        page.write(offset, contents[:fitting])
        return "x" in page.permissions

    def _page_at(self, frame: int) -> tuple[Page, int]:
        index, offset = divmod(frame - FIRST_FRAME, PAGE_SIZE)
        return self._frames[index], offset

    def store(self, address: int, contents: bytes) -> None:
        """Write bytes into a page that was lent already, without a note of it."""
        page = self._pages[address & ~PAGE_MASK]
        assert page is not None, "it was lent"
        self._processor.mem_write(page.frame + (address & PAGE_MASK), contents)
