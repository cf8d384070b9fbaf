"""The compressed symbol table that every Xen with live patching carries in its read-only data (`spec/03 §7`).

Eight items follow one another: symbol offsets from XEN_VIRT_START, their number, the names as a stream of
`length, code, code …`, an offset into that stream for every 256th name (markers), 256 tokens that the codes
stand for, the offset of each token, from 4.21 on the number of real names, and the order of names for
bisection. Nothing says where they are but the labels of an unstripped image. Without these, the tokens give
them away: digits stand for themselves, so "0" to "9" lie there in a row, each with its NUL. From there
everything else is found by walking outwards, and each step is checked against the others (`spec/03 §7.5`).
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.hypervisor.contents import FormError
from xsplice_loader.hypervisor.embedded_layout import (
    ATTEMPTS,
    DIGITS,
    Layout,
    NoTableError,
    entry_starts,
    layout_around,
    name_order,
    token_ends,
    token_index_is_at,
    u32,
)
from xsplice_loader.hypervisor.symbols import SymbolTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from xsplice_loader.hypervisor.contents import Piece

_LONGEST_ITEM = 1 << 20
"""Bytes of one item of a table at most: 8 for each of 131,072 names."""
_EXPANDED_LIMIT = 4 << 20
"""Bytes that all names of a table may have together; real ones have a quarter of a million."""
_NAMES_AT_ONCE = 400
"""Names that are expanded at once: few enough that every column is below the 128 KiB from which on memory is fetched
from the system anew each time."""


class EmbeddedTable(NamedTuple):
    """A decoded table; `offsets` count from XEN_VIRT_START."""

    start: int
    """Offset of the table's first byte from XEN_VIRT_START."""
    end: int
    offsets: npt.NDArray[np.uint64]
    names: list[bytes]
    types: str
    ends: npt.NDArray[np.uint64]
    """Where symbols end that no other one follows at once (4.21+)."""
    order: npt.NDArray[np.intp] | None
    """Positions in `names` by name; None in a build without FAST_SYMBOL_LOOKUP."""

    def at(self, xen_virt_start: int) -> SymbolTable:
        """Return the symbols at the addresses that they have when Xen's range starts there."""
        base = np.uint64(xen_virt_start)
        ends = self.ends + base if len(self.ends) else None
        return SymbolTable(self.offsets + base, self.names, self.types, order=self.order, ends=ends)


def find_table(pieces: Sequence[Piece]) -> EmbeddedTable | None:
    """Find and decode the table by what it looks like; None if no piece of the image holds one."""
    for piece in pieces:
        data = piece.data.tobytes()
        hit = -1
        for _ in range(ATTEMPTS):
            hit = data.find(DIGITS, hit + 1)
            if hit < 0:
                break
            try:
                return _decode(piece, data, layout_around(data, hit, piece.offset))
            except NoTableError:
                continue
    return None


def labelled_table(pieces: Sequence[Piece], labels: Mapping[str, int]) -> EmbeddedTable | None:
    """Decode the table that labels name; `labels` are offsets from XEN_VIRT_START. None without such labels.

    Raises:
        FormError: there are labels, but no table at them.

    """
    if "symbols_offsets" not in labels or "symbols_token_index" not in labels:
        return None
    piece = next((p for p in pieces if 0 <= labels["symbols_offsets"] - p.offset < len(p.data)), None)
    if piece is None:
        return None
    # From the first label to as far behind the last as the table can go; the rest of the image is none of it.
    first = min(labels.values()) - piece.offset
    last = max(labels.values()) - piece.offset + _LONGEST_ITEM
    piece = piece._replace(offset=piece.offset + max(first, 0), data=piece.data[max(first, 0) : max(last, 0)])
    at = {name: offset - piece.offset for name, offset in labels.items()}
    data = piece.data.tobytes()
    try:
        count_at = at["symbols_num_addrs"] if "symbols_num_addrs" in at else at["symbols_num_syms"]
        layout = Layout(
            count=u32(data, count_at),
            offsets=at["symbols_offsets"],
            names=at["symbols_names"],
            markers=at["symbols_markers"],
            tokens=at["symbols_token_table"],
            token_index=at["symbols_token_index"],
            order=at.get("symbols_sorted_offsets"),
        )
        return _decode(piece, data, layout)
    except (NoTableError, KeyError):
        raise FormError("damaged: the embedded symbol table is not where its labels say") from None


def _decode(piece: Piece, data: bytes, layout: Layout) -> EmbeddedTable:
    if min(layout.offsets, layout.names, layout.tokens) < 0 or not 0 < layout.count <= len(data) // 4:
        raise NoTableError
    if layout.offsets + 4 * layout.count > len(data) or len(data) >> 31:
        raise NoTableError
    if not token_index_is_at(data, layout.token_index, layout.tokens):
        raise NoTableError
    starts, _ = entry_starts(data, layout.names, layout.count, min(layout.markers, len(data)))
    offsets = np.frombuffer(data, "<u4", layout.count, layout.offsets).astype(np.uint64)
    if np.any(offsets[1:] < offsets[:-1]):
        raise NoTableError
    names, types, is_name = _expanded(data, layout, starts)
    order = None
    end = layout.token_index + 512
    if layout.order is not None:
        entries = name_order(data, layout, layout.order, starts)
        order = (np.cumsum(is_name) - 1)[entries]
        by_name = list(map(names.__getitem__, order.tolist()))
        if by_name != sorted(by_name):
            raise NoTableError
        end = layout.order + 8 * len(entries)
    return EmbeddedTable(
        start=piece.offset + layout.offsets,
        end=piece.offset + end,
        offsets=offsets[is_name],
        names=names,
        types=types.decode("latin-1"),
        ends=offsets[~is_name],
        order=order,
    )


def _expanded(
    data: bytes, layout: Layout, starts: npt.NDArray[np.intp]
) -> tuple[list[bytes], bytes, npt.NDArray[np.bool_]]:
    """Return all names, their type letters, and which entries have one: END entries are empty (`spec/03 §7.2`)."""
    tokens = _Tokens.of(data, layout.tokens)
    stream_end = int(starts[-1]) + 1 + data[starts[-1]]
    names: list[bytes] = []
    types = bytearray()
    is_name = np.zeros(len(starts), bool)
    size = 0
    for first in range(0, len(starts), _NAMES_AT_ONCE):
        last = first + _NAMES_AT_ONCE
        block = starts[first:last]
        expanded, begins = tokens.expanded(block, int(starts[last]) if last < len(starts) else stream_end)
        size += len(expanded)
        if size > _EXPANDED_LIMIT:
            raise NoTableError
        named = tokens.data.take(block) != 0
        letters = begins[named] + 1
        types += expanded.take(letters).tobytes()
        is_of_name = np.ones(len(expanded), bool)
        is_of_name[letters] = False
        of_block = expanded[is_of_name].tobytes().split(b"\0")[1:]
        names += of_block if named.all() else compress(of_block, named.tolist())
        is_name[first:last] = named
    return names, bytes(types), is_name


class _Tokens(NamedTuple):
    """The 256 tokens that the codes of a stream stand for: where each stands in the data, and how long it is."""

    # All columns are of the type that numpy indexes with, so that none is ever converted.
    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.intp]
    nul: int
    """Where a NUL stands."""

    @classmethod
    def of(cls, data: bytes, position: int) -> _Tokens:
        ends = token_ends(data, position)
        starts = np.concatenate(([position], ends[:-1]))
        return cls(np.frombuffer(data, np.uint8), starts, ends - 1 - starts, int(ends[0]) - 1)

    def expanded(self, entries: npt.NDArray[np.intp], end: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
        """Return what the codes of some entries up to `end` stand for, and where each entry begins in that.

        Each entry's length byte becomes one NUL, which no token holds, so that they can be cut apart again.
        """
        first = int(entries[0])
        codes = self.data[first:end]
        heads = entries - first
        lengths, sources = self.lengths.take(codes), self.starts.take(codes)
        lengths[heads], sources[heads] = 1, self.nul
        before = np.cumsum(lengths)
        total = int(before[-1])
        before -= lengths
        begins = before.take(heads)
        if not lengths.all():
            # Real tables have empty tokens too, for bytes that no name has, and so no code.
            raise NoTableError
        # Within a token one goes a byte on for a byte, and from each to the next as far as these lie apart.
        apart = sources - before
        apart[1:] -= apart[:-1].copy()
        apart += 1
        apart[0] -= 1
        steps = np.ones(total, np.intp)
        steps[before] = apart
        return self.data.take(np.cumsum(steps)), begins
