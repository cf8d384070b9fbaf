"""What the jumps from old functions to new ones demand of a payload's base (contract 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.functions import SECTION, FunctionEntry
from xsplice_loader.livepatch.patching import JUMP_SIZE, jump_displacement
from xsplice_loader.numbers import INT32, signed
from xsplice_loader.relocation.window import Constraint, Impossible, Limit, distance_constraint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.releases import Release


def trampoline_constraints(
    entries: Sequence[FunctionEntry], offsets: Sequence[int], placement: Placement, release: Release
) -> Iterator[Constraint | Impossible]:
    """Yield two constraints for each jump: Xen's own distance test, and the true displacement.

    `offsets` are the bytes of each old function that stay before its jump.
    """
    for entry, offset in zip(entries, offsets, strict=True):
        if not entry.new_addr:
            continue
        limit = Limit("trampoline", SECTION, entry.index, entry.shown)
        moves = placement.base <= entry.new_addr < placement.end
        if moves == (placement.base <= entry.old_addr < placement.end):
            if not INT32[0] <= signed(jump_displacement(entry.old_addr, entry.new_addr, offset)) < INT32[1]:
                yield Impossible(limit)
            continue
        # Whichever of the two moves with the payload stands at B plus this much.
        way = (entry.new_addr if moves else entry.old_addr) - placement.base
        if moves:
            if release.checks_distance:
                yield distance_constraint(entry.old_addr - way, -1, limit)
            yield distance_constraint(way - (entry.old_addr + offset + JUMP_SIZE), 1, limit)
        else:
            if release.checks_distance:
                yield distance_constraint(way - entry.new_addr, 1, limit)
            yield distance_constraint(entry.new_addr - (way + offset + JUMP_SIZE), -1, limit)
