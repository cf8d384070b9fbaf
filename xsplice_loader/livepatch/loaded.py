"""A payload's sections and the memory around them while it loads, when all of the payload is still writable."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.memory.partly_known import UnknownRange
from xsplice_loader.payload import elf, text_of
from xsplice_loader.rules import content as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xsplice_loader.findings import Findings
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.livepatch.moved_branches import MovedBranch
    from xsplice_loader.livepatch.processor import Processor
    from xsplice_loader.memory import mapping as mappings
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile, Section


class LoadedSections(NamedTuple):
    """Access to a payload's sections where they stand in memory now."""

    payload: ObjectFile
    placement: Placement
    image: np.ndarray
    """The payload's memory from its base on."""
    refused: Mapping[int, Sequence[int]]
    """Per section the offsets of fields whose relocation was refused, so that what they hold means nothing."""
    branches: list[MovedBranch]
    """The branches that were written into the payload's code so far."""
    mapping: mappings.Mapping
    """The pages that hold it; `image` is their contents."""

    def contents(self, section: Section, extra: int = 0) -> bytes | None:
        """Return a section's bytes as loaded, and up to `extra` bytes behind them; None where it was not loaded."""
        address = self.placement.addresses.get(section.index)
        if address is None:
            return None
        start = address - self.placement.base
        return bytes(self.image[start : start + section.size + extra])

    def in_place(self, section: Section) -> memoryview | None:
        """Return a loaded section's bytes, for reading and writing where they are; None where it was not loaded."""
        address = self.placement.addresses.get(section.index)
        if address is None:
            return None
        start = address - self.placement.base
        return self.image.data[start : start + section.size]

    def write(self, section: Section, contents: bytes | bytearray) -> None:
        """Overwrite a loaded section."""
        start = self.placement.addresses[section.index] - self.placement.base
        self.image[start : start + len(contents)] = memoryview(contents)

    def write_at(self, address: int, contents: bytes) -> bool:
        """Write bytes at an address if all of them lie in the payload's pages; tell whether they do."""
        start = address - self.placement.base
        if not 0 <= start <= len(self.image) - len(contents):
            return False
        self.image[start : start + len(contents)] = memoryview(contents)
        self.mapping.mark_known(address, len(contents))
        return True

    def mark_unknown(self, address: int, size: int, why: str) -> None:
        """Note that what Xen writes at an address is unknown, as far as that is in the payload's pages."""
        low, high = max(address, self.mapping.start), min(address + size, self.mapping.end)
        if low < high:
            self.mapping.mark_unknown(UnknownRange(low, high - low, why))

    def has_refused_field(self, address: int, size: int) -> bool:
        """Tell whether a field whose relocation was refused overlaps some bytes: then they mean nothing."""
        for index, offsets in self.refused.items():
            start = self.placement.addresses.get(index)
            if start is not None and any(address - 8 < start + offset < address + size for offset in offsets):
                return True
        return False

    def function_at(self, address: int) -> str | None:
        """Return the name of the payload's function or label at an address; None where none is near."""
        for section, start in self.placement.addresses.items():
            if start <= address < start + self.payload.section(section).size:
                return symbol_in(self.payload, section, address - start)
        return None

    def with_uploaded(self, section: Section, contents: bytes) -> LoadedSections:
        """Return access to the sections after Xen has overwritten one that it left in the upload buffer."""
        pages, end = self.payload.pages, section.offset + len(contents)
        changed = pages[: section.offset] + contents + pages[end:]
        return self if changed == pages else self._replace(payload=self.payload.changed(changed))

    def meaningless(self, section: Section, entry_size: int) -> frozenset[int]:
        """Return which entries of a table have a field whose relocation was refused."""
        return frozenset(offset // entry_size for offset in self.refused.get(section.index, ()))


def symbol_in(payload: ObjectFile, section: int, offset: int) -> str | None:
    """Return the name of the function at an offset of a section, else of the label before it; None without either."""
    table = payload.symbols.table
    near = np.flatnonzero((table["section"] == section) & (table["value"] <= offset) & (table["name"] != 0))
    if not len(near):
        return None
    rows = table[near]
    covers = (rows["info"] & 0xF == elf.STT_FUNC) & (offset - rows["value"] < np.maximum(rows["size"], 1))
    # Of several the one that begins last.
    best = np.lexsort((rows["value"], covers))[-1]
    return payload.symbol_name(int(near[best]))


class UnknownContentsError(Exception):
    """Memory that is mapped, but whose contents are unknown."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(f"the {size} bytes at {address:#018x} are unknown")
        self.address = address


class RunningXen(NamedTuple):
    """The hypervisor around a payload that is being loaded."""

    memory: AddressSpace
    address_of: Callable[[bytes], int | None]
    """Where a symbol lies."""
    symbolic: Callable[[int], str]
    """An address as Xen prints it where it wants a symbol."""
    processor: Processor
    described: Callable[[int], str]
    """An address of Xen's image by its symbol and section."""
    image: tuple[int, int]
    """The range of Xen's image."""

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes at `address`, modulo 2^64.

        Raises:
            MemoryFault: some byte is not mapped.
            UnknownContentsError: the bytes are mapped but not known.
        """
        if not size:
            return b""
        contents = self.memory.read(address & ADDRESS_MASK, size)
        if contents is None:
            raise UnknownContentsError(address & ADDRESS_MASK, size)
        return contents


def symbolic(hypervisor: Hypervisor, address: int) -> str:
    """Return an address as Xen prints it where it wants a symbol: by name within its own text, else as a number."""
    symbols = hypervisor.symbols
    found = symbols.symbol_at(address) if hypervisor.text_start <= address < hypervisor.text_end else None
    if found is None:
        return f"{address:016x}"
    name, offset = found
    text = text_of(name)
    if not offset:
        return text
    following = int(symbols.addresses.searchsorted(np.uint64(address), side="right"))
    end = int(symbols.addresses[following]) if following < len(symbols) else hypervisor.text_end
    return f"{text}+{offset:#x}/{end - address + offset:#x}"


def has_whole_entries(section: Section, entry_size: int, findings: Findings) -> bool:
    """Test that a table is a whole number of entries (`spec/01 14.1.1`)."""
    if section.size % entry_size == 0:
        return True
    findings.add(
        rules.WRONG_TABLE_SIZE,
        f"{section.text_name} has {section.size} bytes, not a multiple of {entry_size}, the size of an entry",
        words={"size": section.size, "name": section.name, "entry_size": entry_size},
        section=section.text_name,
        index=section.index,
    )
    return False
