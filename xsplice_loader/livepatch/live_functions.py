"""The function table of a loaded payload, as an action finds it in memory (`spec/04 §1`)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.findings import raw, visible
from xsplice_loader.livepatch.functions import ENTRY, INSN_BUFFER_SIZE
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.releases import Release

EXPECTATION = Struct(f"<B{INSN_BUFFER_SIZE}s")
EXPECTATION_OFFSET = 72


class Expectation(NamedTuple):
    """What an entry says must stand at its old address."""

    is_enabled: bool
    length: int
    """Bytes, 0 to 31."""
    reserved: int
    """Two bits that must be 0."""
    data: bytes


NO_EXPECTATION = Expectation(False, 0, 0, b"")


class LiveFunction(NamedTuple):
    """One entry."""

    number: int
    """Which entry of the table, from 0."""
    name: int
    """The address of its name; 0: it has none."""
    new_addr: int
    old_addr: int
    new_size: int
    old_size: int
    expectation: Expectation


class LiveTable(NamedTuple):
    """Where a payload's entries stand."""

    address: int
    entries: int

    def functions(self, memory: AddressSpace, release: Release) -> list[LiveFunction]:
        """Return the entries as they are now: the payload's own code may have changed them."""
        size = release.function_entry_size
        found = []
        for index in range(self.entries):
            # What is saved in an entry may be unknown, the rest is not.
            entry = memory.read_partly(self.address + index * size, size).contents
            name, new_addr, old_addr, new_size, old_size, _version = ENTRY.unpack_from(entry)
            expectation = NO_EXPECTATION
            if release.has_expectations:
                flags, data = EXPECTATION.unpack_from(entry, EXPECTATION_OFFSET)
                expectation = Expectation(bool(flags & 1), flags >> 1 & 0x1F, flags >> 6, data)
            found.append(LiveFunction(index, name, new_addr, old_addr, new_size, old_size, expectation))
        return found


NO_FUNCTIONS = LiveTable(0, 0)


def shown_name(function: LiveFunction, memory: AddressSpace) -> str:
    """Return a function's name as text.

    Raises:
        MemoryFault: it is where nothing is mapped.
    """
    return visible(printed_name(function, memory))


def printed_name(function: LiveFunction, memory: AddressSpace) -> str:
    """Return a function's name as Xen prints it, in the form of `findings.raw`.

    Raises:
        MemoryFault: it lies where nothing is mapped.
    """
    if function.name < PAGE_SIZE:
        # xen/common/vsprintf.c: string() takes no pointer into the first page for one to a string.
        return "<NULL>"
    name = memory.read_string(function.name)
    return "?" if name is None else raw(name)
