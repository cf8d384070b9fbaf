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
    ends = token_ends(data, layout.tokens)
    token_starts = np.concatenate(([layout.tokens], ends[:-1]))
    token_lengths = ends - 1 - token_starts
    stream_end = int(starts[-1]) + 1 + data[starts[-1]]
    stream = np.frombuffer(data, np.uint8, stream_end - layout.names, layout.names)
    # Each length byte expands to one NUL, which no token holds, so that the names can be cut apart again.
    positions = starts - layout.names
    # 32 bits hold every position, and half the memory takes half the time.
    lengths = token_lengths.astype(np.int32)[stream]
    sources = token_starts.astype(np.int32)[stream]
    lengths[positions] = 1
    sources[positions] = ends[0] - 1
    total = int(lengths.sum())
    if total > _EXPANDED_LIMIT:
        raise NoTableError
    before = np.cumsum(lengths, dtype=np.int32) - lengths
    nuls = before[positions]
    if not lengths.all():
        sources, before = sources[lengths > 0], before[lengths > 0]
    # Within a token one goes a byte on for a byte, and from each to the next as far as these lie apart.
    apart = sources - before
    apart[1:] -= apart[:-1].copy()
    gather = np.ones(total, np.intp)
    gather[before] = apart + 1
    gather[0] -= 1
    np.cumsum(gather, out=gather)
    expanded = np.frombuffer(data, np.uint8)[gather]
    is_name = np.diff(nuls, append=np.int32(total)) > 1
    letters = nuls[is_name] + 1
    names: list[bytes] = np.delete(expanded, letters).tobytes().split(b"\0")[1:]
    if not is_name.all():
        names = list(compress(names, is_name.tolist()))
    return names, expanded[letters].tobytes(), is_name
