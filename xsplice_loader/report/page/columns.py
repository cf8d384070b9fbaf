"""Relocations for a browser: columns in as few bytes as they need, base64 in JSON.

A hundred thousand relocations as JSON objects would be 20 MB and seconds of parsing. As columns they are what they are
in the loader: an array for each field, in the smallest integer type that holds it. S is not a column: it belongs to the
symbol, and so does the question whether it moves with the payload.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from xsplice_loader.findings import Findings
from xsplice_loader.payload import elf
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import TYPES, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.relocation.trace import LoadTrace

MOVES, USABLE, ABSOLUTE, UNPLACED, ASSUMED = (1 << bit for bit in range(5))
"""What is known of a symbol: it moves with the payload; a relocation may use it; it is absolute; its section was given
no address; it is not known, and taken to lie in Xen."""

SHOWN_NAME = 200
"""Characters of a symbol's name: names may overlap in the file, and all of them together be much longer than it."""


def placed_groups(trace: LoadTrace, release: Release) -> Iterator[RelocationSection]:
    """Yield the relocation sections whose target has an address, in Xen's order."""
    for group in relocation_sections(trace.payload, Findings(release)):
        if group.target.index in trace.placement.addresses:
            yield group


def relocation_columns(trace: LoadTrace, release: Release) -> dict[str, Any]:
    """Return all relocations of a load, with the symbols and types that occur in them."""
    groups = list(placed_groups(trace, release))
    entries = [group.entries for group in groups]
    number = _joined([part["symbol"] for part in entries], np.uint32)
    used, symbol = np.unique(number, return_inverse=True)
    kinds = _joined([part["type"] for part in entries], np.uint32)
    return {
        "count": len(number),
        "groups": [_group(group, trace) for group in groups],
        "types": {str(kind): _type(kind) for kind in np.unique(kinds).tolist()},
        "symbols": _symbols(used, trace),
        "offset": column(_joined([part["offset"] for part in entries], np.uint64)),
        "type": column(kinds),
        "symbol": column(symbol.astype(np.uint32)),
        "addend": column(_joined([part["addend"].view(np.int64) for part in entries], np.int64)),
        "stored": column(_joined([_stored(group, trace) for group in groups], np.uint32)),
    }


def column(values: np.ndarray) -> dict[str, str]:
    """Return a column as its element type (`u1` to `i8`) and its bytes, little endian, as base64."""
    lowest, highest = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    kind = "i" if lowest < 0 else "u"
    size = next(
        size
        for size in (1, 2, 4, 8)
        if lowest >= -(1 << 8 * size - 1) and highest < 1 << 8 * size - (1 if kind == "i" else 0)
    )
    return {"kind": f"{kind}{size}", "bytes": base64.b64encode(values.astype(f"<{kind}{size}").tobytes()).decode()}


def _joined(parts: list[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts])


def _group(group: RelocationSection, trace: LoadTrace) -> dict[str, Any]:
    at = trace.placement.addresses[group.target.index]
    return {
        "section": group.target.text_name,
        "relocations": group.section.text_name,
        "offset": at - trace.placement.base,
        "size": group.target.size,
        "executable": group.target.is_executable,
        "count": len(group.entries),
    }


def _type(number: int) -> dict[str, Any]:
    kind = TYPES.get(number)
    return {
        "name": type_name(number),
        "formula": kind.formula if kind is not None else "",
        "width": kind.width if kind is not None else 0,
        "relative": kind is not None and kind.is_relative,
        "applied": kind is not None and kind.applied,
        "emitted_by": kind.emitted_by if kind is not None else "",
    }


def _symbols(used: np.ndarray, trace: LoadTrace) -> dict[str, Any]:
    table, known = trace.payload.symbols.table, len(trace.payload.symbols)
    inside = (used > 0) & (used < known)
    index = np.where(inside, used, 0)
    section = table["section"][index] if known else np.zeros(len(used), np.uint16)
    moves = np.isin(section, np.array(list(trace.placement.addresses), np.int64))
    resolved = trace.symbols
    flags = sum(
        np.where(inside & holds, flag, 0)
        for flag, holds in (
            (MOVES, moves),
            (USABLE, resolved.usable[index]),
            (ABSOLUTE, section == elf.SHN_ABS),
            (UNPLACED, resolved.unplaced[index]),
            (ASSUMED, resolved.assumed[index]),
        )
    )
    return {
        "names": [
            _short(trace.payload.symbol_name(number)) if is_known else f"symbol {number}"
            for number, is_known in zip(used.tolist(), inside.tolist(), strict=True)
        ],
        "values": column(np.where(inside, resolved.values[index], np.uint64(0)).astype(np.uint64)),
        "flags": column(np.asarray(flags, np.uint8).reshape(-1)),
    }


def _short(name: str) -> str:
    return name if len(name) <= SHOWN_NAME else f"{name[:SHOWN_NAME]}…"


def _stored(group: RelocationSection, trace: LoadTrace) -> np.ndarray:
    """Return what the file has in the first four bytes of each field; 0 where it has none."""
    contents = np.frombuffer(trace.payload.bytes_of(group.target), np.uint8)
    offset = group.entries["offset"]
    inside = offset < np.uint64(max(len(contents) - 3, 0))
    if not inside.any():
        return np.zeros(len(offset), np.uint32)
    fields = np.ndarray((len(contents) - 3,), "<u4", contents.tobytes(), strides=(1,))
    return np.where(inside, fields[np.where(inside, offset, 0).astype(np.int64)], 0).astype(np.uint32)
