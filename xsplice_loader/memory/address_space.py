"""Host memory as one hypervisor sees it: the image it was booted from, and what was mapped since.

Only what is mapped can be reached; everything else is a fault that names the address. Permissions belong to
the pages and are tested on every access (`spec/02 §5`).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

import numpy as np

from xsplice_loader.memory.mapping import Mapping, Protection
from xsplice_loader.memory.partly_known import PartlyKnown, UnknownRange
from xsplice_loader.numbers import bytes_text
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xsplice_loader.memory.address_map import Area
    from xsplice_loader.releases import Permissions

ADDRESS_LIMIT = 1 << 64
ADDRESS_MASK = ADDRESS_LIMIT - 1
UPPER_HALF = 0xFFFF_8000_0000_0000
"""The lowest canonical address of the upper half, where a hypervisor lives."""

_SHORT_STRING = 64
"""Bytes in which most strings end."""
_start_of = attrgetter("start")


class MemoryFault(Exception):  # noqa: N818 - the processor's own word for it
    """An access to memory that is not mapped, or not for this kind of access."""

    def __init__(self, address: int, message: str) -> None:
        super().__init__(message)
        self.address = address


class MappingError(Exception):
    """Pages cannot be mapped where they were asked for; the message is a clause that says why."""


class BootImage(Protocol):
    """What the address space needs of a hypervisor image."""

    @property
    def image_start(self) -> int:
        """First mapped address."""

    @property
    def image_end(self) -> int:
        """End of the mapped addresses."""

    @property
    def protections(self) -> Sequence[Protection]:
        """What its pages may be used for, in ascending order; gaps are not mapped once it runs."""

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes as they are at run time, or None unless all of them are known."""

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        """Return those of some bytes that are known."""

    def as_linked(self, address: int, size: int) -> bytes | None:
        """Return bytes as the hypervisor's file has them, or None unless it holds all of them."""

    def described(self, address: int) -> str | None:
        """Return what people call an address of the image, or None where that is unknown."""

    def may_lose_endbr64(self, address: int) -> bool:
        """Tell whether boot takes the ENDBR64 of the function at an address on some processors."""


class _Overwritten(NamedTuple):
    """What was there before a write: the bytes of a mapping, or those bytes of the image that were written before."""

    address: int
    size: int
    mapping: Mapping | None
    before: bytes
    """Of a mapping, with what was unknown of it."""
    unknown: tuple[UnknownRange, ...]
    written: dict[int, int]
    lost: frozenset[int]
    """Of the image, what was overwritten with something unknown."""


Remembered = tuple[_Overwritten, ...]
"""What bytes were at some time, part by part."""


class AddressSpace:
    """The mapped memory of one simulated host."""

    def __init__(self, image: BootImage, reserved: Sequence[Area] = (), own_pages: Sequence[Protection] = ()) -> None:
        """Start with the image mapped.

        `reserved` are areas that Xen keeps mapped for purposes of its own; `own_pages` are those of its pages that lie
        in the range for payloads or behind it. What they hold is not known.
        """
        self._image = image
        self._protections = (*image.protections, *own_pages)
        self._reserved = reserved
        self._mappings: list[Mapping] = []
        self._may_overlap = False
        self._written: dict[int, int] = {}
        """The bytes of the image that were written since, by address."""
        self._lost: set[int] = set()
        """The bytes of the image that were overwritten since with something unknown, by address."""
        self._journal: list[_Overwritten] | None = None

    def map_pages(self, start: int, mfns: Sequence[int], *, anywhere: bool = False) -> Mapping:
        """Map frames one after the other from `start` on, zeroed, readable and writable.

        `anywhere` leaves out the questions whether Xen can map there and whether something else lies there.

        Raises:
            MappingError: `start` is no page address, leaves no room, or (unless `anywhere`) lies outside the upper
                half or where something else is mapped.
        """
        if start % PAGE_SIZE:
            raise MappingError("is not a page address")
        if not 0 <= start <= ADDRESS_LIMIT - len(mfns) * PAGE_SIZE:
            raise MappingError(f"leaves no room for {len(mfns)} pages")
        if not anywhere:
            if start < UPPER_HALF:
                raise MappingError("cannot be mapped: Xen lives in the upper half of the address space")
            occupant = self.occupant(start, len(mfns))
            if occupant is not None:
                raise MappingError(f"is taken by {occupant}")
        self._may_overlap = self._may_overlap or anywhere
        mapping = Mapping(start, mfns)
        insort(self._mappings, mapping, key=_start_of)
        return mapping

    def unmap(self, mapping: Mapping) -> None:
        """Remove a mapping; its frames are the caller's again."""
        self._mappings.remove(mapping)

    @property
    def mappings(self) -> Sequence[Mapping]:
        """What was mapped, in ascending order."""
        return tuple(self._mappings)

    def modify_mappings(self, start: int, end: int, permissions: Permissions) -> None:
        """Set what the pages from `start` to `end` may be used for.

        Raises:
            MemoryFault: they are not all of one mapping.
        """
        mapping = self._mapping_of(start, end - start)
        if mapping is None:
            raise MemoryFault(
                start, f"the pages {start:#018x}-{end:#018x} are not mapped, so they cannot be made {permissions}"
            )
        changed = [Protection(start, end, permissions)]
        for old in mapping.protections:
            if old.start < start:
                changed.append(old if old.end <= start else old._replace(end=start))
            if old.end > end:
                changed.append(old if old.start >= end else old._replace(start=end))
        mapping.protections = sorted(changed)

    def occupant(self, start: int, pages: int) -> str | None:
        """Name what lies in `pages` pages from `start`, or None where they are free."""
        end = start + pages * PAGE_SIZE
        if start < self._image.image_end and end > self._image.image_start:
            return "Xen's own image"
        for area in self._reserved:
            if start < area.end and end > area.start:
                return f"the {area.name}"
        index = bisect_right(self._mappings, start, key=_start_of)
        for mapping in self._mappings[max(index - 1, 0) :]:
            if mapping.start >= end:
                break
            if start < mapping.end:
                return f"the pages mapped at {mapping.start:#018x}"
        return None

    def read(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes at `address`; None where memory is mapped but its contents are not known.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        mapping = self._mapping_of(address, size)
        if mapping is not None or self._is_in_image(address, size):
            return self._read_part(mapping, address, size)
        parts = [self._read_part(*part) for part in self._parts_of(address, size, "a read")]
        known = [part for part in parts if part is not None]
        return b"".join(known) if len(known) == len(parts) else None

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        """Return those of `size` bytes at `address` that are known.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        whole = self.read(address, size) if size else b""
        return self._read_partly(address, size) if whole is None else PartlyKnown.of(whole)

    def _read_partly(self, address: int, size: int) -> PartlyKnown:
        found = PartlyKnown(size)
        for mapping, start, length in self._parts_of(address, size, "a read"):
            if mapping is None:
                found.take(start - address, self._image.read_partly(start, length))
                for place, byte in self.written_at(start, length).items():
                    found.put(place - address, bytes((byte,)))
                for place in self._lost_at(start, length):
                    found.forget(place - address, 1)
            else:
                offset = start - mapping.start
                found.put(start - address, mapping.contents[offset : offset + length].tobytes())
                for unknown in mapping.unknown:
                    low, high = max(unknown.address, start), min(unknown.end, start + length)
                    if low < high:
                        found.forget(low - address, high - low)
        return found

    def may_lose_endbr64(self, address: int) -> bool:
        """Tell whether boot takes the ENDBR64 of the function at an address on processors that track branches."""
        return self._image.may_lose_endbr64(address)

    def read_entry(self, address: int, size: int) -> PartlyKnown:
        """Return the first bytes of a function, as far as it matters whether they are an ENDBR64.

        What boot patches in Xen's text makes no ENDBR64, and turns one into its poison form at most. So where boot may
        have changed bytes of the image that nothing was written over since, the file's will do.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        found = self.read_partly(address, size)
        if not found.is_known:
            written = self.written_at(address, size).keys() | self._lost_at(address, size)
            for offset, is_unknown in enumerate(found.unknown):
                place = address + offset
                if is_unknown and place not in written and self._is_in_image(place, 1):
                    linked = self._image.as_linked(place, 1)
                    if linked is not None:
                        found.put(offset, linked)
        return found

    def is_in_one_piece(self, address: int, size: int) -> bool:
        """Tell whether all of the bytes are mapped, and by one mapping or the image alone."""
        return self._mapping_of(address, size) is not None or self._is_in_image(address, size)

    def _read_part(self, mapping: Mapping | None, address: int, size: int) -> bytes | None:
        if mapping is not None:
            if mapping.unknown and mapping.has_unknown(address, size):
                return None
            offset = address - mapping.start
            return mapping.contents[offset : offset + size].tobytes()
        if self._lost and self._lost_at(address, size):
            return None
        contents = self._image.read(address, size)
        return self._with_written(address, size, contents) if self._written else contents

    def write(self, address: int, contents: bytes) -> None:
        """Write bytes into pages that may be written.

        Raises:
            MemoryFault: some byte is not mapped, or may not be written.
        """
        self.require_writable(address, len(contents))
        self.overwrite(address, contents)

    def overwrite(self, address: int, contents: bytes) -> None:
        """Write bytes into pages, whatever they may be used for.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        for mapping, start, size in self._parts_of(address, len(contents), "a write"):
            part = contents[start - address : start - address + size]
            if self._journal is not None:
                self._journal.append(self._before(mapping, start, size))
            if mapping is None:
                self._write_image(start, part)
            else:
                offset = start - mapping.start
                mapping.contents[offset : offset + size] = np.frombuffer(part, np.uint8)
                mapping.mark_known(start, size)

    def _before(self, mapping: Mapping | None, start: int, size: int) -> _Overwritten:
        if mapping is None:
            written, lost = self.written_at(start, size), self._lost_at(start, size)
            return _Overwritten(start, size, None, b"", (), written, lost)
        offset = start - mapping.start
        before = mapping.contents[offset : offset + size].tobytes()
        unknown = tuple(part for part in mapping.unknown if part.address < start + size and start < part.end)
        return _Overwritten(start, size, mapping, before, unknown, {}, frozenset())

    def _lost_at(self, address: int, size: int) -> frozenset[int]:
        return frozenset(self._lost.intersection(range(address, address + size))) if self._lost else frozenset()

    def _write_image(self, address: int, contents: bytes) -> None:
        """Keep what differs from the image as it started."""
        original = self._image.read(address, len(contents))
        self._lost.difference_update(range(address, address + len(contents)))
        for offset, byte in enumerate(contents):
            if original is not None and original[offset] == byte:
                self._written.pop(address + offset, None)
            else:
                self._written[address + offset] = byte

    def make_unknown(self, address: int, size: int, why: str) -> None:
        """Note that bytes were overwritten with something unknown.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        for mapping, start, length in self._parts_of(address, size, "a write"):
            if self._journal is not None:
                self._journal.append(self._before(mapping, start, length))
            if mapping is None:
                self._drop_written(start, length)
                self._lost.update(range(start, start + length))
            else:
                mapping.mark_unknown(UnknownRange(start, length, why))

    def is_lost(self, address: int) -> bool:
        """Tell whether a byte of the image was overwritten with something unknown."""
        return address in self._lost

    def remember(self, address: int, size: int) -> Remembered:
        """Return what is known of bytes now, for `put_back`.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        return tuple(self._before(*part) for part in self._parts_of(address, size, "a read"))

    def put_back(self, remembered: Remembered) -> None:
        """Make bytes what they were when they were remembered, as far as that was known."""
        for then in remembered:
            if self._journal is not None:
                self._journal.append(self._before(then.mapping, then.address, then.size))
            self._restore(then)

    def _restore(self, then: _Overwritten) -> None:
        mapping, start, size = then.mapping, then.address, then.size
        if mapping is not None:
            offset = start - mapping.start
            mapping.contents[offset : offset + size] = np.frombuffer(then.before, np.uint8)
            mapping.mark_known(start, size)
            for part in then.unknown:
                low, high = max(part.address, start), min(part.end, start + size)
                mapping.mark_unknown(UnknownRange(low, high - low, part.why))
        else:
            self._drop_written(start, size)
            self._written.update(then.written)
            self._lost.difference_update(range(start, start + size))
            self._lost.update(then.lost)

    def _drop_written(self, address: int, size: int) -> None:
        for place in self.written_at(address, size):
            del self._written[place]

    @contextmanager
    def tentative(self) -> Iterator[Callable[[], None]]:
        """Keep a record of writes meanwhile; calling what this yields takes all of them back."""
        assert self._journal is None, "one record at a time"
        self._journal = []
        try:
            yield self._take_back
        finally:
            self._journal = None

    def _take_back(self) -> None:
        journal, self._journal = self._journal or [], None
        for then in reversed(journal):
            self._restore(then)

    def require_writable(self, address: int, size: int) -> None:
        """Do nothing where bytes may be written.

        Raises:
            MemoryFault: some byte is not mapped, or may not be written.
        """
        self._require(address, size, "w", "a write")

    def protections_of(self, address: int, size: int) -> Sequence[Protection]:
        """Return the runs of pages that the `size` bytes at `address` lie in.

        Raises:
            MemoryFault: some byte is not mapped.
        """
        end = address + size
        runs = []
        for mapping, start, length in self._parts_of(address, size, "an access"):
            of_part = self._protections if mapping is None else mapping.protections
            runs += [run for run in of_part if run.start < min(start + length, end) and start < run.end]
        return runs

    @property
    def written(self) -> dict[int, int]:
        """The bytes of the image that are not what they were when it started, by address."""
        return dict(sorted(self._written.items()))

    def written_at(self, address: int, size: int) -> dict[int, int]:
        """Return those of `size` bytes of the image that are not what they were when it started."""
        if size > len(self._written):
            return {place: byte for place, byte in self._written.items() if address <= place < address + size}
        return {place: self._written[place] for place in range(address, address + size) if place in self._written}

    def fetch(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes of code at `address`, which must be executable.

        Raises:
            MemoryFault: some byte is not mapped, or may not be executed.
        """
        self._require(address, size, "x", "an instruction fetch")
        return self.read(address, size)

    def _require(self, address: int, size: int, permission: str, access: str) -> None:
        try:
            runs = self.protections_of(address, size)
        except MemoryFault:
            self._fault(address, size, access)
        for run in runs:
            if permission not in run.permissions:
                where = f"the pages {run.start:#018x}-{run.end:#018x}, which are {run.permissions}"
                raise MemoryFault(address, f"{access} of {bytes_text(size)} at {self._named(address)}, into {where}")

    def _fault(self, address: int, size: int, access: str) -> NoReturn:
        raise MemoryFault(
            address, f"{access} of {bytes_text(size)} at {self._named(address)}, where nothing is mapped"
        ) from None

    def _named(self, address: int) -> str:
        name = self._image.described(address)
        return f"{address:#018x}" if name is None else f"{address:#018x} ({name})"

    def _is_in_image(self, address: int, size: int) -> bool:
        """Tell whether all of the bytes are in mapped pages of the image."""
        end = address + size
        for run in self._protections:
            if run.start <= address and end <= run.end:
                return True
        mapped = sum(max(min(run.end, end) - max(run.start, address), 0) for run in self._protections)
        return mapped == size and self._image.image_start <= address and end <= self._image.image_end

    def _with_written(self, address: int, size: int, contents: bytes | None) -> bytes | None:
        written = self.written_at(address, size)
        if contents is None:
            if not written:
                return None
            found = self._read_partly(address, size)
            return bytes(found.contents) if found.is_known else None
        changed = bytearray(contents)
        for place, byte in written.items():
            changed[place - address] = byte
        return bytes(changed)

    def _parts_of(self, address: int, size: int, access: str) -> list[tuple[Mapping | None, int, int]]:
        """Return the pieces of memory that an access touches: mapping (None: the image), address, bytes."""
        mapping = self._mapping_of(address, size)
        if mapping is not None or self._is_in_image(address, size):
            return [(mapping, address, size)]
        parts: list[tuple[Mapping | None, int, int]] = []
        place, end = address, address + size
        while place < end:
            mapping = self._mapping_of(place, 1)
            if mapping is None:
                self._fault(address, size, access)
            length = min(end, mapping.end) - place
            parts.append((mapping, place, length))
            place += length
        if not parts:
            self._fault(address, size, access)
        return parts

    def _mapping_of(self, address: int, size: int) -> Mapping | None:
        """Return the mapping that holds all of some bytes, of several the one that begins last."""
        if not self._mappings or address < self._mappings[0].start:
            return None
        if len(self._mappings) == 1:
            (mapping,) = self._mappings
            return mapping if address + size <= mapping.end else None
        index = bisect_right(self._mappings, address, key=_start_of) - 1
        while index >= 0:
            mapping = self._mappings[index]
            if address + size <= mapping.end:
                return mapping
            # Behind a mapping that is too short there is nothing, unless mappings lie on one another.
            if mapping.start < address and mapping.mfns and not self._may_overlap:
                return None
            index -= 1
        return None

    def read_available(self, address: int, size: int) -> bytes:
        """Return up to `size` bytes at `address`, as many as are mapped and known."""
        return self.read_mapped(address, size).known_start

    def read_mapped(self, address: int, size: int) -> PartlyKnown:
        """Return up to `size` bytes at `address`, as many as are mapped, as far as they are known."""
        while size > 0:
            try:
                return self.read_partly(address, size)
            except MemoryFault:
                size -= 1
        return PartlyKnown(0)

    def read_string(self, address: int, limit: int = 4096) -> bytes | None:
        """Return the NUL-terminated string at `address`, cut at `limit` bytes; None where contents are unknown.

        Raises:
            MemoryFault: the string runs into unmapped memory.
        """
        mapping = self._mapping_of(address, 1)
        if mapping is not None and not mapping.unknown:
            offset = address - mapping.start
            for size in (min(_SHORT_STRING, limit), limit):
                whole, nul, _ = mapping.contents[offset : offset + size].tobytes().partition(b"\0")
                if nul:
                    return whole
        out = bytearray()
        while len(out) < limit:
            step = min(PAGE_SIZE - (address + len(out)) % PAGE_SIZE, 64, limit - len(out))
            # What follows the NUL may well be unknown.
            chunk = self.read_partly(address + len(out), step).known_start
            end = chunk.find(0)
            if end >= 0:
                return bytes(out + chunk[:end])
            if len(chunk) < step:
                return None
            out += chunk
        return bytes(out)
