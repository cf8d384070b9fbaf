"""The sort of exception tables: the bytes that running hypervisors left, and what any sort must keep."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_tables import Row, check_against_record, label, recorded

from xsplice_loader.livepatch.exception_table import sort_exception_table

ADDRESS = 0xFFFF82D0405B0000
NEAR = 1 << 30
# Few distinct places, so that entries for one instruction are common.
ENTRIES = st.lists(
    st.tuples(st.one_of(st.integers(0, 5), st.integers(-NEAR, NEAR)), st.integers(-NEAR, NEAR)), max_size=60
)


@pytest.mark.parametrize(("release", "row"), recorded(of_exception_tables=True), ids=label)
def test_as_recorded(release: str, row: Row) -> None:
    check_against_record(release, row)


def packed(entries: list[tuple[int, int]]) -> bytes:
    """Return a table of targets that are given relative to its start."""
    return b"".join(struct.pack("<ii", a - 8 * i, b - (8 * i + 4)) for i, (a, b) in enumerate(entries))


def unpacked(table: bytes) -> list[tuple[int, int]]:
    return [(a + 8 * i, b + 8 * i + 4) for i, (a, b) in enumerate(struct.iter_unpack("<ii", table))]


@given(ENTRIES)
def test_sorts_and_keeps_targets(entries: list[tuple[int, int]]) -> None:
    left = unpacked(sort_exception_table(packed(entries), ADDRESS))
    assert [a for a, _ in left] == sorted(a for a, _ in entries)
    assert sorted(left) == sorted(entries)


@given(ENTRIES)
def test_does_not_depend_on_the_address(entries: list[tuple[int, int]]) -> None:
    table = packed(entries)
    assert sort_exception_table(table, ADDRESS) == sort_exception_table(table, ADDRESS + 4096)


def test_the_top_of_the_address_space() -> None:
    # Addresses are compared as unsigned numbers of 64 bits: what lies behind the last byte is address 0.
    entries = [(0, 1), (0x2000, 2), (0x10, 3)]
    left = unpacked(sort_exception_table(packed(entries), (1 << 64) - 0x1000))
    assert left == [(0x2000, 2), (0, 1), (0x10, 3)]


def test_empty() -> None:
    assert sort_exception_table(b"", ADDRESS) == b""
