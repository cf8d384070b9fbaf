"""What the relocations of a payload demand of its base: columns in, the few constraints that decide out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.findings import Findings
from xsplice_loader.payload import text_of
from xsplice_loader.releases import GIB
from xsplice_loader.relocation.numbers import INT32
from xsplice_loader.relocation.relocating import relocation_sections
from xsplice_loader.relocation.types import R_X86_64_PC32, R_X86_64_PLT32
from xsplice_loader.relocation.window import Constraint, Impossible, Limit, distance_constraint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.relocating import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace


def relocation_constraints(trace: LoadTrace, release: Release) -> Iterator[Constraint | Impossible]:
    """Yield, for each relocation section, the two constraints that decide, and all that can never be met."""
    placement = trace.placement
    table = trace.payload.symbols.table
    moves = np.isin(table["section"], np.array(list(placement.addresses), table["section"].dtype))
    for group in relocation_sections(trace.payload, Findings(release)):
        address = placement.addresses.get(group.target.index)
        if address is None:
            continue
        entries = group.entries
        index = np.where(entries["symbol"] < len(table), entries["symbol"], 0)
        relative = (entries["type"] == R_X86_64_PC32) | (entries["type"] == R_X86_64_PLT32)
        inside = entries["offset"] + np.uint64(4) <= np.uint64(group.target.size)
        counted = relative & inside & trace.symbols.usable[index]
        value = trace.symbols.values[index] + entries["addend"].view(np.uint64) - entries["offset"]

        within = np.flatnonzero(counted & moves[index])
        fixed_value = (value[within] - np.uint64(address)).view(np.int64)
        for row in within[(fixed_value < INT32[0]) | (fixed_value >= INT32[1])].tolist():
            yield Impossible(_limit(trace, group, row))

        outside = np.flatnonzero(counted & ~moves[index])
        fixed = value[outside] - np.uint64(address - placement.base)
        for position in _decisive(fixed):
            yield distance_constraint(int(fixed[position]), -1, _limit(trace, group, int(outside[position])))
        # A symbol that is taken for granted may lie anywhere in Xen's image, which ends within its gigabyte.
        anywhere = np.flatnonzero(trace.symbols.assumed[index[outside]])
        furthest = fixed[anywhere] + np.uint64(GIB)
        for position in _decisive(furthest):
            row = int(outside[anywhere[position]])
            yield distance_constraint(int(furthest[position]), -1, _limit(trace, group, row))


def _decisive(fixed: np.ndarray) -> Iterator[int]:
    """Yield which of many constraints `fixed - B` decide: the lowest and the highest of each 2^48 of the circle."""
    parts = fixed >> np.uint64(48)
    for part in np.unique(parts).tolist():
        members = np.flatnonzero(parts == part)
        yield from {int(members[fixed[members].argmin()]), int(members[fixed[members].argmax()])}


def _limit(trace: LoadTrace, group: RelocationSection, row: int) -> Limit:
    symbol = text_of(trace.payload.symbols.name(int(group.entries["symbol"][row])))
    return Limit("relocation", group.target.text_name, row, symbol)
