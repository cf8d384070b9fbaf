"""At which addresses a payload fits: plain interval arithmetic over linear constraints (contract 4).

Put a payload at base B, the address of its text region. Everything in it that can overflow depends on B linearly,
with factor 1 or -1 or not at all: a displacement to something outside grows or shrinks by a byte for every byte that
B moves, one within the payload stays. So each of them fits for one run of 2^32 bases, and all of them together for the
intersection of those runs. No address is tried.

Arithmetic on addresses wraps at 2^64, so a run is an arc of a circle; what counts is its part in the upper half, where
Xen lives, and an arc that short has at most one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.memory.address_space import ADDRESS_LIMIT, ADDRESS_MASK, UPPER_HALF
from xsplice_loader.numbers import INT32
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

REACH = INT32[1]


LimitKind = Literal["relocation", "trampoline", "alternative", "alternative call"]


class Limit(NamedTuple):
    """What a constraint comes from."""

    kind: LimitKind
    section: str
    entry: int
    """Which relocation or entry of a table, from 0."""
    symbol: str


class Constraint(NamedTuple):
    """The bases from `low` to `high`, both included, are all right for `limit`; numbers modulo 2^64."""

    low: int
    high: int
    limit: Limit


class Impossible(NamedTuple):
    """What does not depend on the base and does not fit at any."""

    limit: Limit


class Edge(NamedTuple):
    """What breaks first on one side of a window, or cannot be satisfied at all."""

    side: Literal["low", "high", "none"]
    limit: Limit


class Window(NamedTuple):
    """The run of bases at which all of a payload fits."""

    lowest: int | None
    """The first page address of the run; None where there is none."""
    highest: int | None
    """The last page address of the run."""
    covers_arena: bool
    """Every base that the range for payloads can give lies inside."""
    headroom: int | None
    """Bytes from the present base to the nearer end, negative outside."""
    tightest: tuple[Edge, ...]


def distance_constraint(fixed: int, sign: Literal[1, -1], limit: Limit) -> Constraint:
    """Return the bases B for which `fixed + sign * B`, read as a signed 64-bit number, fits 32 signed bits."""
    if sign < 0:
        return Constraint((fixed - REACH + 1) & ADDRESS_MASK, (fixed + REACH) & ADDRESS_MASK, limit)
    return Constraint((-REACH - fixed) & ADDRESS_MASK, (REACH - 1 - fixed) & ADDRESS_MASK, limit)


def measure(constraints: Iterable[Constraint | Impossible], *, base: int, size: int, arena: tuple[int, int]) -> Window:
    """Return the window of a payload of `size` bytes that stands at `base` now."""
    low, high = UPPER_HALF, ADDRESS_LIMIT - size
    lowest_limit: Limit | None = None
    highest_limit: Limit | None = None
    impossible: list[Edge] = []
    for constraint in constraints:
        if isinstance(constraint, Impossible):
            impossible.append(Edge("none", constraint.limit))
            continue
        start, end = _in_upper_half(constraint)
        if start > low:
            low, lowest_limit = start, constraint.limit
        if end < high:
            high, highest_limit = end, constraint.limit
    lowest, highest = -(-low // PAGE_SIZE) * PAGE_SIZE, high // PAGE_SIZE * PAGE_SIZE
    edges = [Edge("low", lowest_limit)] if lowest_limit is not None else []
    if highest_limit is not None:
        edges.append(Edge("high", highest_limit))
    if impossible or lowest > highest:
        return Window(None, None, False, None, tuple(impossible or edges))
    inside_arena = lowest <= arena[0] and arena[1] - size <= highest
    return Window(lowest, highest, inside_arena, min(base - lowest, highest - base), tuple(edges))


def _in_upper_half(constraint: Constraint) -> tuple[int, int]:
    """Return the part of an arc that lies in the upper half; an empty one has its end before its start."""
    low, high = constraint.low, constraint.high
    if low <= high:
        return max(low, UPPER_HALF), high
    # It goes over the top: what is left of it begins where it began.
    return (max(low, UPPER_HALF), ADDRESS_LIMIT) if low >= UPPER_HALF else (UPPER_HALF, high)
