"""The steps about addresses: symbols and relocations (`spec/03`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.livepatch.tables import BUG_FRAMES
from xsplice_loader.numbers import INT32, size_text
from xsplice_loader.payload import elf, text_of
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import R_X86_64_PC32, R_X86_64_PLT32, TYPES
from xsplice_loader.teaching.blocks import Bits, Block, Paragraph, Reach, Table
from xsplice_loader.teaching.places import count_text, hexadecimal
from xsplice_loader.teaching.scene import MOST_ROWS, silent
from xsplice_loader.teaching.walk_form import NOT_READ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.host_state import LoadedPayload
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.teaching.scene import Scene

NEVER_PLACED = Paragraph("The payload has no address, so nothing in it has one.")


def tell_resolution(scene: Scene) -> Iterator[Block]:
    """Tell where the addresses of symbols come from."""
    if scene.payload is None:
        yield NOT_READ
        return
    if scene.trace is None:
        yield NEVER_PLACED
        return
    table = scene.trace.payload.symbols.table["section"][1:]
    absolute = int((table == elf.SHN_ABS).sum())
    undefined = np.flatnonzero(table == elf.SHN_UNDEF) + 1
    defined = len(table) - absolute - len(undefined)
    yield Paragraph(
        f"Symbols: {defined} of the payload's own, which get the address of their section added; {absolute} absolute, "
        f"which keep their value; {len(undefined)} to look up, in Xen's own table of "
        f"{len(scene.host.hypervisor.symbols):,} names first, then in the payloads that were loaded before."
    )
    if len(undefined):
        yield Table(
            ("undefined symbol", "address", "found in"),
            tuple(_looked_up(scene, scene.trace, int(index)) for index in undefined[:MOST_ROWS]),
        )


def _looked_up(scene: Scene, trace: LoadTrace, index: int) -> tuple[str, str, str]:
    name = trace.payload.symbols.name(index)
    address = hexadecimal(int(trace.symbols.values[index])) if trace.symbols.usable[index] else "-"
    return (
        text_of(name),
        address,
        finder_of(name, scene.host.hypervisor, scene.below, assumed=bool(trace.symbols.assumed[index])),
    )


def finder_of(name: bytes, hypervisor: Hypervisor, below: Sequence[LoadedPayload], *, assumed: bool) -> str:
    """Return who knows an undefined symbol."""
    if assumed:
        return "no table: taken to lie in Xen's image"
    if hypervisor.symbols.address_of(name) is not None:
        return "Xen's table of symbols"
    for loaded in below:
        if name in loaded.exports:
            return f"the payload {loaded.shown_name}, loaded before"
    return "no table"


def tell_relocation(scene: Scene) -> Iterator[Block]:
    """Tell which relocations there are, and how near to the edge they come."""
    if scene.payload is None:
        yield NOT_READ
        return
    if scene.trace is None:
        yield NEVER_PLACED
        return
    totals = scene.result.relocations
    if not totals.total:
        yield Paragraph("There is no relocation to apply.")
        return
    formulas = {kind.name: kind.formula for kind in TYPES.values()}
    yield Paragraph(
        f"{count_text(totals.total, 'place')} in the loaded sections wait for an address. S is the symbol's, A the "
        "addend in the table, P the place itself:"
    )
    yield Table(
        ("how many", "type", "value"),
        tuple((str(count), name, formulas.get(name, "?")) for name, count in totals.by_type.items()),
    )
    furthest = longest_way(scene.trace, scene.release)
    if furthest is not None:
        yield Paragraph(
            f"The longest way is that of {furthest.section}:{furthest.row} to {furthest.symbol}: "
            f"{size_text(furthest.value)}, {_share(furthest.value)}."
        )
        yield Reach(furthest.value)
        if not INT32[0] <= furthest.value < INT32[1]:
            yield Bits(furthest.value, 32)


def _share(value: int) -> str:
    """Return how much of what 32 bits reach a way takes."""
    share = abs(value) / INT32[1]
    if share > 1:
        return f"{share:,.1f} times what 32 bits reach"
    return f"{share:.1%} of what 32 bits reach" if share >= 0.001 else "less than a thousandth of what 32 bits reach"


class Way(NamedTuple):
    """A relative relocation and how far it leads, in bytes."""

    section: str
    row: int
    symbol: str
    value: int


def longest_way(trace: LoadTrace, release: Release) -> Way | None:
    """Return the relative relocation that leads furthest; None where there is none.

    Words of bug frames are not looked at: their distances have 24 bits, and the rest of the sum is a line number.
    """
    found: Way | None = None
    for group in relocation_sections(trace.payload, silent(release)):
        address = trace.placement.addresses.get(group.target.index)
        if address is None or group.target.text_name in BUG_FRAMES:
            continue
        entries = group.entries
        index = np.where(entries["symbol"] < len(trace.payload.symbols), entries["symbol"], 0)
        relative = (entries["type"] == R_X86_64_PC32) | (entries["type"] == R_X86_64_PLT32)
        rows = np.flatnonzero(relative & trace.symbols.usable[index])
        if not len(rows):
            continue
        values = (
            trace.symbols.values[index] + entries["addend"].view(np.uint64) - entries["offset"] - np.uint64(address)
        )
        # Read as a float: the absolute value of the lowest integer has no place among integers.
        row = int(rows[np.abs(values.view(np.int64)[rows].astype(np.float64)).argmax()])
        value = int(values.view(np.int64)[row])
        if found is None or abs(value) > abs(found.value):
            found = Way(group.target.text_name, row, trace.payload.symbol_name(int(index[row])), value)
    return found
