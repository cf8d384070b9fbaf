"""The engine against five lines of plain integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader.payload import elf
from xsplice_loader.relocation import engine
from xsplice_loader.relocation.resolution import ResolvedSymbols

SIZE = 64
EDGES = [0, 1, 2**31 - 5, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**31, 2**64 - 1]
words = st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)
near = st.integers(-(2**31) - 70, 2**31 + 70) | st.sampled_from([-(2**31), 2**31 - 1, 2**31])
Rows = list[tuple[int, int, int, int]]
rows = st.lists(
    st.tuples(
        st.integers(0, SIZE + 4) | st.sampled_from([2**64 - 4, 2**63]),
        st.sampled_from([0, 1, 1, 2, 2, 4, 4, 10, 11, 2**32 - 1]),
        st.integers(0, 6) | st.just(2**32 - 1),
        st.integers(-(2**63), 2**63 - 1) | near,
    ),
    max_size=12,
)


def reference(rows: Rows, symbols: list[int], usable: list[bool], address: int) -> tuple[bytes, list[int]]:
    contents, faulty = bytearray(SIZE), []
    for row, (offset, kind, symbol, addend) in enumerate(rows):
        width = {0: 0, 1: 8, 2: 4, 4: 4}.get(kind)
        value = (
            (symbols[symbol] + addend - (address + offset if width == 4 else 0)) % 2**64 if symbol < len(symbols) else 0
        )
        fits = width != 4 or value < 2**31 or value >= 2**64 - 2**31
        if (
            width is None
            or symbol >= len(symbols)
            or not usable[symbol]
            or (width and offset + width > SIZE)
            or not fits
        ):
            faulty.append(row)
        elif width:
            contents[offset : offset + width] = value.to_bytes(8, "little")[:width]
    return bytes(contents), faulty


def run(rows: Rows, symbols: list[int], usable: list[bool], address: int) -> tuple[bytes, list[int]]:
    entries = np.zeros(len(rows), elf.rela_dtype(24))
    for row, (offset, kind, symbol, addend) in enumerate(rows):
        entries[row] = (offset, kind, symbol, addend)
    contents = np.zeros(SIZE, np.uint8)
    no = np.zeros(len(symbols), bool)
    resolved = ResolvedSymbols(np.array(symbols, np.uint64), np.array(usable), no, no, np.zeros(0, np.uint64))
    applied = engine.apply(entries, resolved, engine.Target(contents, address))
    return contents.tobytes(), applied.faulty


@given(rows, st.lists(words, min_size=5, max_size=5), st.lists(st.booleans(), min_size=4, max_size=4), words)
@settings(max_examples=600, deadline=None)
def test_agrees_with_plain_integers(rows: Rows, symbols: list[int], usable: list[bool], address: int) -> None:
    flags = [False, *usable]
    assert run(rows, symbols, flags, address) == reference(rows, symbols, flags, address)


@given(st.lists(st.tuples(st.integers(0, SIZE - 4), near), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_edges_of_32_bits(places: list[tuple[int, int]]) -> None:
    address = 0xFFFF82D0405B0000
    rows = [(offset, 2, 1, distance) for offset, distance in places]
    symbols, usable = [0, address], [False, True]
    assert run(rows, symbols, usable, address) == reference(rows, symbols, usable, address)


def test_blocks_are_joined_in_file_order() -> None:
    count = 2 * engine.BLOCK + 3
    entries = np.zeros(count, elf.rela_dtype(24))
    entries["offset"] = np.arange(count) * 4
    entries["type"] = 2
    entries["symbol"] = 1
    entries["type"][[5, engine.BLOCK + 7, count - 1]] = 11
    contents = np.zeros(count * 4, np.uint8)
    no = np.zeros(2, bool)
    resolved = ResolvedSymbols(
        np.array([0, 0x1000], np.uint64), np.array([False, True]), no, no, np.zeros(0, np.uint64)
    )
    applied = engine.apply(entries, resolved, engine.Target(contents, 0))
    assert applied.faulty == [5, engine.BLOCK + 7, count - 1]
    assert applied.counts[2] == count - 3
    written = contents.view("<i4")
    expected = 0x1000 - np.arange(count) * 4
    expected[applied.faulty] = 0
    assert (written == expected).all()
