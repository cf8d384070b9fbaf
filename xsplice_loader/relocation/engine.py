"""Applying relocations to columns instead of one by one.

A relocation writes S + A or S + A - P into a field of its section: S is the symbol's address, A the addend that
the relocation carries, P the address of the field. What is stored in 32 bits must be got back by sign extension,
or else the instruction would lead elsewhere; that test is the whole of "overflow", and it is made before
anything is written (Xen writes first and then looks, which comes to the same: a refused payload is thrown away).

The entries of a section are a table with one row a relocation. Its columns go through a handful of numpy
operations in blocks that stay in cache: gather S, add A, subtract P, compare, scatter. All arithmetic is on
uint64, which wraps as the processor's does. Rows that cannot be applied are told apart by masks; only those are
ever looked at one by one, and not here: the engine returns their indices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.relocation.types import R_X86_64_64, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_PLT32

if TYPE_CHECKING:
    from xsplice_loader.relocation.resolution import ResolvedSymbols

BLOCK = 16384
"""Rows at a time: the columns of a block fit a processor's second-level cache."""


class Target(NamedTuple):
    """The section that relocations are applied to."""

    contents: np.ndarray
    """Its bytes in the image, as a uint8 view; NOBITS sections included."""
    address: int

    def fields(self, width: int) -> np.ndarray:
        """Return the section as overlapping fields of `width` bytes: element i is the field at offset i."""
        count = max(len(self.contents) - width + 1, 0)
        return np.ndarray((count,), f"<u{width}", self.contents.data if count else None, strides=(1,))


class Applied(NamedTuple):
    """What came of one relocation section."""

    faulty: list[int]
    """Rows that could not be applied, ascending."""
    counts: dict[int, int]
    """Rows per type number, of the types that Xen knows."""


def apply(entries: np.ndarray, symbols: ResolvedSymbols, target: Target) -> Applied:
    """Apply every row of `entries` that can be, in file order, and return the others' indices."""
    faulty: list[int] = []
    counts = dict.fromkeys((R_X86_64_NONE, R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32), 0)
    section = _Section(target, symbols)
    for start in range(0, len(entries), BLOCK):
        block = entries[start : start + BLOCK]
        refused = section.apply_block(block, counts)
        faulty += [start + row for row in refused]
    return Applied(faulty, counts)


class _Section:
    """One target with its symbols, and the column operations on it."""

    def __init__(self, target: Target, symbols: ResolvedSymbols) -> None:
        self.size = len(target.contents)
        self.address = np.uint64(target.address)
        self.fields32 = target.fields(4)
        self.fields64 = target.fields(8)
        self.values = symbols.values
        self.usable = symbols.usable
        self.all_usable = bool(symbols.usable[1:].all())

    def apply_block(self, block: np.ndarray, counts: dict[int, int]) -> list[int]:
        """Apply a block and return the rows, relative to it, that could not be applied."""
        types = block["type"]
        pc32 = types == R_X86_64_PC32
        plt32 = types == R_X86_64_PLT32
        relative = pc32 | plt32
        counts[R_X86_64_PC32] += (pc32_count := int(np.count_nonzero(pc32)))
        counts[R_X86_64_PLT32] += (plt32_count := int(np.count_nonzero(plt32)))
        usable = self._usable_symbols(block["symbol"])
        if pc32_count + plt32_count == len(block) and usable is None:
            return self._apply_relative(block, None)

        absolute = types == R_X86_64_64
        none = types == R_X86_64_NONE
        counts[R_X86_64_64] += int(np.count_nonzero(absolute))
        counts[R_X86_64_NONE] += int(np.count_nonzero(none))
        bad = ~(relative | absolute | none)
        if usable is not None:
            bad |= ~usable
        rows32 = np.flatnonzero(relative & ~bad)
        rows64 = np.flatnonzero(absolute & ~bad)
        if len(rows32) and len(rows64) and _overlap(block["offset"], rows32, rows64):
            refused = []
            for row in np.union1d(rows32, rows64):
                one = np.array([row])
                refused += self._apply_relative(block, one) if relative[row] else self._apply_absolute(block, one)
        else:
            refused = self._apply_relative(block, rows32) + self._apply_absolute(block, rows64)
        return sorted(refused + np.flatnonzero(bad).tolist())

    def _usable_symbols(self, symbol: np.ndarray) -> np.ndarray | None:
        """Return which rows name a usable symbol, or None where all do."""
        if self.all_usable and symbol.min() > 0 and symbol.max() < len(self.values):
            return None
        inside = symbol < len(self.usable)
        usable: np.ndarray = inside & self.usable[np.where(inside, symbol, 0)]
        return usable

    def _apply_relative(self, block: np.ndarray, rows: np.ndarray | None) -> list[int]:
        """Write S + A - P where it fits 32 signed bits; `rows` None means all."""
        offset, symbol, addend = _columns(block, rows)
        if not len(offset):
            return []
        value = self.values[symbol]
        value += addend
        value -= offset
        value -= self.address
        whole = value.view(np.int64)
        cut = whole.astype(np.int32)
        fits = cut == whole
        if int(offset.max()) + 4 <= self.size and fits.all():
            self.fields32[offset.view(np.int64)] = cut.view(np.uint32)
            return []
        good = fits & self._inside(offset, 4)
        self.fields32[offset[good]] = cut.view(np.uint32)[good]
        refused = np.flatnonzero(~good)
        where: list[int] = (refused if rows is None else rows[refused]).tolist()
        return where

    def _apply_absolute(self, block: np.ndarray, rows: np.ndarray) -> list[int]:
        """Write S + A."""
        offset, symbol, addend = _columns(block, rows)
        good = self._inside(offset, 8)
        value = self.values[symbol]
        value += addend
        self.fields64[offset[good]] = value[good]
        refused: list[int] = rows[~good].tolist()
        return refused

    def _inside(self, offset: np.ndarray, width: int) -> np.ndarray:
        return offset < max(self.size - width + 1, 0)


def _columns(block: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns r_offset, symbol index and r_addend (as uint64) of some rows, each contiguous."""
    if rows is not None:
        block = block[rows]
    return (
        np.ascontiguousarray(block["offset"]),
        np.ascontiguousarray(block["symbol"]),
        np.ascontiguousarray(block["addend"]).view(np.uint64),
    )


def _overlap(offset: np.ndarray, rows32: np.ndarray, rows64: np.ndarray) -> bool:
    """Tell whether any two fields share a byte. Then the order of writing matters."""
    starts = np.concatenate((offset[rows32], offset[rows64]))
    widths = np.concatenate((np.full(len(rows32), 4, np.uint64), np.full(len(rows64), 8, np.uint64)))
    order = np.argsort(starts, kind="stable")
    starts, widths = starts[order], widths[order]
    return bool((starts[1:] - starts[:-1] < widths[:-1]).any())
