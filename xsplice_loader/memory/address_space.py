"""Host memory as one hypervisor sees it: the image it was booted from, and what was mapped since.

Only what is mapped can be reached; everything else is a fault that names the address. Permissions belong to
the mapping and are tested on every write (`spec/02 §5`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    import numpy as np

ADDRESS_LIMIT = 1 << 64
ADDRESS_MASK = ADDRESS_LIMIT - 1
UPPER_HALF = 0xFFFF_8000_0000_0000
"""The lowest canonical address of the upper half, where a hypervisor lives."""


class MemoryFault(Exception):  # noqa: N818 - the processor's own word for it
    """An access to memory that is not mapped, or not for this kind of access."""

    def __init__(self, address: int, what: str) -> None:
        super().__init__(f"{what} at {address:#018x}")
        self.address = address


class BootImage(Protocol):
    """What the address space needs of a hypervisor image."""

    @property
    def image_start(self) -> int:
        """First mapped address."""

    @property
    def image_end(self) -> int:
        """End of the mapped addresses."""

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes, or None where they are not known."""


@dataclass(slots=True)
class Mapping:
    """A run of pages with contents, and the permissions of its parts."""

    start: int
    contents: np.ndarray
    """The bytes, as uint8, a whole number of pages."""
    permissions: list[tuple[int, int, str]] = field(default_factory=list)
    """`(start, end, "rw-")` and so on; empty: everything may be read and written (PAGE_HYPERVISOR)."""

    @property
    def end(self) -> int:
        """End address."""
        return self.start + len(self.contents)


class AddressSpace:
    """The mapped memory of one simulated host."""

    def __init__(self, image: BootImage) -> None:
        self._image = image
        self._mappings: list[Mapping] = []

    def map(self, start: int, contents: np.ndarray) -> Mapping:
        """Map `contents` (uint8, whole pages) at `start`, readable and writable."""
        mapping = Mapping(start, contents)
        self._mappings.append(mapping)
        return mapping

    def unmap(self, start: int) -> None:
        """Remove the mapping that begins at `start`."""
        self._mappings = [mapping for mapping in self._mappings if mapping.start != start]

    def protect(self, start: int, permissions: list[tuple[int, int, str]]) -> None:
        """Set the permissions of the parts of the mapping that begins at `start`, as `(start, end, "r-x")`."""
        for mapping in self._mappings:
            if mapping.start == start:
                mapping.permissions = permissions

    def occupant(self, start: int, pages: int) -> str | None:
        """Name what lies in `pages` pages from `start`, or None where they are free."""
        end = start + pages * PAGE_SIZE
        if start < self._image.image_end and end > self._image.image_start:
            return "Xen's own image"
        for mapping in self._mappings:
            if start < mapping.end and end > mapping.start:
                return f"a payload at {mapping.start:#018x}"
        return None

    def read(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes at `address`; None where memory is mapped but its contents are not known.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        for mapping in self._mappings:
            if mapping.start <= address and address + size <= mapping.end:
                offset = address - mapping.start
                return mapping.contents[offset : offset + size].tobytes()
        if self._image.image_start <= address and address + size <= self._image.image_end:
            return self._image.read(address, size)
        raise MemoryFault(address, "read of unmapped memory")

    def read_available(self, address: int, size: int) -> bytes:
        """Return up to `size` bytes at `address`, as many as are mapped and known."""
        while size:
            try:
                contents = self.read(address, size)
            except MemoryFault:
                contents = None
            if contents is not None:
                return contents
            size //= 2
        return b""

    def read_string(self, address: int, limit: int = 4096) -> bytes | None:
        """Return the NUL-terminated string at `address`, cut at `limit` bytes; None where contents are unknown.

        Raises:
            MemoryFault: the string runs into unmapped memory.
        """
        out = bytearray()
        while len(out) < limit:
            step = PAGE_SIZE - (address + len(out)) % PAGE_SIZE
            step = min(step, 64)
            chunk = self.read(address + len(out), step)
            if chunk is None:
                return None
            end = chunk.find(0)
            if end >= 0:
                return bytes(out + chunk[:end])
            out += chunk
        return bytes(out)
