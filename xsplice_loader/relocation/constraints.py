"""What the relocations of a payload demand of its base: columns in, the few constraints that decide out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.findings import Findings
from xsplice_loader.numbers import INT32
from xsplice_loader.payload import text_of
from xsplice_loader.releases import GIB
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import R_X86_64_PC32, R_X86_64_PLT32
from xsplice_loader.relocation.window import Constraint, Impossible, Limit, distance_constraint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace


def relocation_constraints(trace: LoadTrace, release: Release) -> Iterator[Constraint | Impossible]:
    """Yield the constraints of those relocations that decide, and all that can never be met."""
    placement = trace.placement
    groups = [
        group
        for group in relocation_sections(trace.payload, Findings(release))
        if group.target.index in placement.addresses
    ]
    if not groups:
        return
    rows = _Rows(trace, groups)
    within = np.flatnonzero(rows.counted & rows.moves)
    fixed_value = (rows.value[within] - rows.address[within]).view(np.int64)
    for row in within[(fixed_value < INT32[0]) | (fixed_value >= INT32[1])].tolist():
        yield Impossible(rows.limit(row))

    outside = np.flatnonzero(rows.counted & ~rows.moves)
    fixed = rows.value[outside] - (rows.address[outside] - np.uint64(placement.base))
    for position in _decisive(fixed):
        yield distance_constraint(int(fixed[position]), -1, rows.limit(int(outside[position])))
    # A symbol that is taken for granted may lie anywhere in Xen's image, which ends within its gigabyte.
    anywhere = np.flatnonzero(trace.symbols.assumed[rows.symbol[outside]])
    furthest = fixed[anywhere] + np.uint64(GIB)
    for position in _decisive(furthest):
        yield distance_constraint(int(furthest[position]), -1, rows.limit(int(outside[anywhere[position]])))


class _Rows:
    """The relocations of several sections, one after the other; a column of each property."""

    def __init__(self, trace: LoadTrace, groups: list[RelocationSection]) -> None:
        self._payload = trace.payload
        self._groups = groups
        lengths = [len(group.entries) for group in groups]
        self._starts = np.cumsum([0, *lengths])
        table = trace.payload.symbols.table
        # Sections may have entries of different sizes, but fields of the same.
        symbol, kind, offset, addend = (
            np.concatenate([group.entries[field] for group in groups])
            for field in ("symbol", "type", "offset", "addend")
        )
        addresses = trace.placement.addresses
        self.address = np.repeat(np.array([addresses[group.target.index] for group in groups], np.uint64), lengths)
        """Of the section that the field is in."""
        size = np.repeat(np.array([group.target.size for group in groups], np.uint64), lengths)
        self.symbol = np.where(symbol < len(table), symbol, 0)
        relative = (kind == R_X86_64_PC32) | (kind == R_X86_64_PLT32)
        inside = (offset < size) & (size - offset >= 4)
        self.counted = relative & inside & trace.symbols.usable[self.symbol]
        """Whether there is something to overflow."""
        self.value = trace.symbols.values[self.symbol] + addend.view(np.uint64) - offset
        """S + A less the offset in the section."""
        self.moves = np.isin(table["section"], np.array(list(addresses), table["section"].dtype))[self.symbol]
        """Whether the symbol is the payload's own."""

    def limit(self, row: int) -> Limit:
        """Return what to call a row."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        group, index = self._groups[number], row - int(self._starts[number])
        symbol = text_of(self._payload.symbols.name(int(group.entries["symbol"][index])))
        return Limit("relocation", group.target.text_name, index, symbol)


def _decisive(fixed: np.ndarray) -> Iterator[int]:
    """Yield which of many constraints `fixed - B` decide: the lowest and the highest of each 2^48 of the circle."""
    parts = fixed >> np.uint64(48)
    for part in np.unique(parts).tolist():
        members = np.flatnonzero(parts == part)
        yield from {int(members[fixed[members].argmin()]), int(members[fixed[members].argmax()])}
