"""Sorting a payload's exception table, `.ex_table` (`spec/04 §5.4`).

An entry is two signed 32-bit distances, each from its own place: to an instruction that may fault, and to where
execution goes on then. Xen sorts entries by the instruction's address, so that it can bisect them, and does so by
heap sort. That is not stable: entries for one instruction end in an order that only this very sort gives, and one
of them is the one used (`spec/07 14`). An entry that changes its place has its distances corrected; they have 32
bits, so that of a target almost 2 GiB away may flip its sign in between, and the entry then counts as 4 GiB off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from xsplice_loader.memory.address_space import ADDRESS_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY_SIZE = 8
_FIELD_SIZE = 4
_HALF = 1 << 31


def sort_exception_table(table: bytes, address: int, child_offset: Literal[0, 1] = 1) -> bytes:
    """Return the table as Xen leaves it at `address`; its size is a multiple of 8 bytes.

    `child_offset`: the heap's first child of entry r is 2r plus this; 0 in the oldest releases
    (xen/common/sort.c: sort).
    """
    fields = np.frombuffer(table, "<i4").astype(np.int64)
    places = np.arange(len(fields), dtype=np.int64) * _FIELD_SIZE
    # Distances from the start of the table: these stay the same wherever an entry goes.
    targets = fields + places
    moved = targets.reshape(-1, 2)[_order(targets[0::2], address, child_offset)].reshape(-1)
    fields = (moved - places).astype(np.uint32)
    return bytes(fields.astype("<u4"))


def _order(targets: np.ndarray, address: int, child_offset: Literal[0, 1]) -> np.ndarray:
    """Return which entry ends in which place, given the instructions' distances from the start of the table."""
    extent = len(targets) * ENTRY_SIZE
    lowest, highest = (int(targets.min()), int(targets.max())) if len(targets) else (0, 0)
    if extent - _HALF <= lowest and highest < _HALF and 0 <= address + lowest <= address + highest <= ADDRESS_MASK:
        if len(np.unique(targets)) == len(targets):
            # Any sort gives this.
            return np.argsort(targets)
        return np.array(_heap_sort(targets.tolist(), lambda target, _place: target, child_offset), np.intp)

    def instruction(target: int, place: int) -> int:
        distance = (target - place * ENTRY_SIZE + _HALF) % (2 * _HALF) - _HALF
        return (address + place * ENTRY_SIZE + distance) & ADDRESS_MASK

    return np.array(_heap_sort(targets.tolist(), instruction, child_offset), np.intp)


def _heap_sort(targets: list[int], instruction: Callable[[int, int], int], child_offset: Literal[0, 1]) -> list[int]:
    """Return the order in which Xen's sort leaves entries; `instruction` gives the key of an entry in a place."""
    order = list(range(len(targets)))

    def key(place: int) -> int:
        return instruction(targets[order[place]], place)

    def sift_down(root: int, end: int) -> None:
        while (child := 2 * root + child_offset) < end:
            if child + 1 < end and key(child) < key(child + 1):
                child += 1
            if key(root) >= key(child):
                break
            order[root], order[child] = order[child], order[root]
            root = child

    for root in reversed(range(len(order) // 2 + 1)):
        sift_down(root, len(order))
    for last in reversed(range(1, len(order))):
        order[0], order[last] = order[last], order[0]
        sift_down(0, last)
    return order
