"""Where the items of Xen's embedded symbol table lie (`spec/03 §7.1`, `§7.5`).

Positions are offsets in the data of one piece of the image. Every function here raises `NoTableError` when
the bytes do not fit together as a table; damaged and hostile files end there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_TOKENS_BEFORE_DIGITS = ord("0")
_NAMES_PER_MARKER = 256
_LONGEST_TOKEN_TABLE = 1 << 16
"""Its offsets are 16 bits wide."""
_LONGEST_ENTRY = 256
_MOST_BLOCKS = 1024
"""Markers that a table may have; real ones have about 30."""
ATTEMPTS = 8
"""Places in one piece of the image that are looked at more closely before the search is given up."""


class NoTableError(Exception):
    """These bytes are no symbol table."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the items start, as positions in a piece's data."""

    count: int
    offsets: int
    names: int
    markers: int
    tokens: int
    token_index: int
    order: int | None


def layout_around(data: bytes, digits: int, alignment_of: int) -> Layout:
    """Walk outwards from the digits of a token table to the other items (`spec/03 §7.5`, steps 1 to 6)."""
    tokens = digits
    for _ in range(_TOKENS_BEFORE_DIGITS):
        tokens = data.rfind(b"\0", max(0, tokens - 1 - _LONGEST_ENTRY), max(0, tokens - 1)) + 1
        if tokens == 0:
            raise NoTableError
    tokens_end = token_ends(data, tokens)[-1]
    token_index = _token_index_behind(data, tokens, tokens_end, alignment_of)

    markers_end = tokens
    markers = markers_end - 4
    while (value := u32(data, markers)) != 0:
        markers -= 4
        if u32(data, markers) >= value or markers_end - markers > 4 * _MOST_BLOCKS:
            raise NoTableError
    count, names = _names_before(data, markers, markers_end, alignment_of)
    offsets = names - 4 - 4 * count
    if offsets < 0:
        raise NoTableError
    layout = Layout(count, offsets, names, markers, tokens, token_index, None)
    return replace(layout, order=_order_behind(data, layout, alignment_of))


def token_ends(data: bytes, tokens: int) -> npt.NDArray[np.intp]:
    """Return the positions behind the NUL of each of 256 tokens."""
    if not 0 <= tokens < len(data):
        raise NoTableError
    window = np.frombuffer(data, np.uint8, min(_LONGEST_TOKEN_TABLE, len(data) - tokens), tokens)
    nuls = np.flatnonzero(window == 0)[:256]
    if len(nuls) < 256:
        raise NoTableError
    return nuls + (tokens + 1)


def _token_index_behind(data: bytes, tokens: int, tokens_end: int, alignment_of: int) -> int:
    # Aligned to 4 up to 4.21, to 2 from 4.22 on.
    for alignment in (4, 2):
        position = _aligned(tokens_end, alignment, alignment_of)
        if token_index_is_at(data, position, tokens):
            return position
    raise NoTableError


def token_index_is_at(data: bytes, position: int, tokens: int) -> bool:
    """Tell whether the 256 u16 at `position` are the offsets of the tokens at `tokens`."""
    if not 0 <= position <= len(data) - 512:
        return False
    starts = np.concatenate(([tokens], token_ends(data, tokens)[:-1])) - tokens
    return bool(np.array_equal(np.frombuffer(data, "<u2", 256, position), starts))


def _names_before(data: bytes, markers: int, markers_end: int, alignment_of: int) -> tuple[int, int]:
    """Find the number of entries and the start of their names, before the markers."""
    blocks = (markers_end - markers) // 4
    last_marker = u32(data, markers_end - 4)
    latest = _aligned(markers - last_marker - 4 - 3, 4, alignment_of)
    earliest = max(latest - _NAMES_PER_MARKER * _LONGEST_ENTRY - 8, _aligned(0, 4, alignment_of))
    if latest < earliest:
        raise NoTableError
    words = np.frombuffer(data, "<u4", (latest - earliest) // 4 + 1, earliest)
    least, most = _NAMES_PER_MARKER * (blocks - 1) + 1, _NAMES_PER_MARKER * blocks
    likely = np.flatnonzero((words >= least) & (words <= most))
    for index in reversed(likely[-ATTEMPTS:].tolist()):
        count, names = int(words[index]), earliest + 4 * index + 4
        try:
            first_block = entry_starts(data, names, min(count, _NAMES_PER_MARKER), markers)[1]
            if blocks > 1 and first_block - names != u32(data, markers + 4):
                continue
            starts, end = entry_starts(data, names, count, markers)
        except NoTableError:
            continue
        if markers - end < 4 and _markers_fit(data, starts, names, markers):
            return count, names
    raise NoTableError


def _markers_fit(data: bytes, starts: npt.NDArray[np.intp], names: int, markers: int) -> bool:
    expected = starts[::_NAMES_PER_MARKER] - names
    return bool(np.array_equal(np.frombuffer(data, "<u4", len(expected), markers), expected))


@lru_cache(maxsize=1)
def entry_starts(data: bytes, names: int, count: int, limit: int) -> tuple[npt.NDArray[np.intp], int]:
    """Return the position of each entry of the stream of names, and the position behind the last.

    An entry says where the next one starts, so they are gone through one by one; the search for a table and its
    decoding ask for the same ones.
    """
    starts = []
    position = names
    for _ in range(count):
        if position >= limit:
            raise NoTableError
        starts.append(position)
        position += 1 + data[position]
    if position > limit:
        raise NoTableError
    return np.array(starts, np.intp), position


def _order_behind(data: bytes, layout: Layout, alignment_of: int) -> int | None:
    """Find the order by name behind the token index; from 4.21 on the number of names stands before it."""
    after = _aligned(layout.token_index + 512, 4, alignment_of)
    starts, _ = entry_starts(data, layout.names, layout.count, layout.markers)
    for position in (after, after + 4):
        try:
            name_order(data, layout, position, starts)
        except NoTableError:
            continue
        return position
    return None


def name_order(data: bytes, layout: Layout, position: int, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the entries by name, from pairs of stream offset and index (`spec/03 §7.1`)."""
    lengths = np.frombuffer(data, np.uint8)[starts]
    named = int(np.count_nonzero(lengths))
    if not 0 <= position <= len(data) - 8 * named:
        raise NoTableError
    pairs = np.frombuffer(data, "<u4", 2 * named, position).reshape(-1, 2)
    entries = pairs[:, 1].astype(np.intp)
    if np.any(entries >= layout.count) or np.any(starts[entries] != pairs[:, 0] + layout.names):
        raise NoTableError
    if np.any(lengths[entries] == 0) or np.bincount(entries).max(initial=0) > 1:
        raise NoTableError
    return entries


def u32(data: bytes, position: int) -> int:
    """Return the little-endian 32-bit word at `position`."""
    if not 0 <= position <= len(data) - 4:
        raise NoTableError
    return int.from_bytes(data[position : position + 4], "little")


def _aligned(position: int, alignment: int, alignment_of: int) -> int:
    """Round a position up so that its address is aligned; position 0 has the address `alignment_of`."""
    return position + -(position + alignment_of) % alignment
