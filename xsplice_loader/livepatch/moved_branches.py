"""Branches that Xen itself writes into a payload's code while it loads, and what they demand of its base (contract 4).

A replacement's branch is moved to the site that it replaces, and an indirect call is made direct. No test of Xen's
guards the displacements that come of this: one that does not fit wraps (`spec/04 §5.1`, `§5.2`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.numbers import INT32, signed
from xsplice_loader.relocation.window import Constraint, Impossible, Limit, distance_constraint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xsplice_loader.memory.placement import Placement


class MovedBranch(NamedTuple):
    """One branch as it was written."""

    limit: Limit
    """What asked for it."""
    end: int
    """The address behind it, which its displacement counts from."""
    target: int


def branch_constraints(branches: Iterable[MovedBranch], placement: Placement) -> Iterator[Constraint | Impossible]:
    """Yield what each branch demands; one that stays within the payload, or outside of it, fits always or never."""
    for branch in branches:
        moves = placement.base <= branch.end <= placement.end
        if moves != (placement.base <= branch.target < placement.end):
            if moves:
                yield distance_constraint(branch.target - (branch.end - placement.base), -1, branch.limit)
            else:
                yield distance_constraint(branch.target - placement.base - branch.end, 1, branch.limit)
        elif not INT32[0] <= signed((branch.target - branch.end) & ADDRESS_MASK) < INT32[1]:
            yield Impossible(branch.limit)
