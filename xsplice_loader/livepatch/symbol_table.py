"""The symbols that a loaded payload offers to later ones (`spec/03 §2`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from xsplice_loader.c_strings import UnterminatedString
from xsplice_loader.payload import elf, text_of
from xsplice_loader.rules import content as rules
from xsplice_loader.rules.sections import UPLOAD_OVERRUN

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from xsplice_loader.findings import Findings
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.relocation.resolution import ResolvedSymbols

NAME_LENGTH = 126
"""Bytes of a name that are kept."""


class PayloadSymbol(NamedTuple):
    """One symbol as Xen keeps it."""

    name: bytes
    value: int
    size: int
    is_new: bool
    """Later payloads may link to it; the others replace a function of Xen's."""


class _Kept(NamedTuple):
    """The symbols of a payload that Xen keeps, wherever it stands."""

    indices: np.ndarray
    names: list[bytes]
    sizes: list[int]
    runs_off: int | None
    """The first of which the name runs on into unmapped memory."""


_kept: WeakKeyDictionary[ObjectFile, _Kept] = WeakKeyDictionary()


def build_symbol_table(
    payload: ObjectFile,
    symbols: ResolvedSymbols,
    new_addresses: Set[int] | None,
    is_known: Callable[[bytes], bool],
    findings: Findings,
) -> tuple[PayloadSymbol, ...]:
    """Return the payload's own symbols; refuse those whose names are already taken.

    `new_addresses` are those of the new functions: symbols there override and may repeat a name. None: they are not
    known, and names are not tested.
    """
    kept = _kept.get(payload)
    if kept is None:
        kept = _kept[payload] = _symbols_to_keep(payload)
    if kept.runs_off is not None:
        findings.add(
            UPLOAD_OVERRUN,
            f"the name of symbol {kept.runs_off} runs on into unmapped memory, and Xen copies it",
            stage="symbol-table",
            index=kept.runs_off,
        )
    out = []
    for name_kept, size, value in zip(kept.names, kept.sizes, symbols.values[kept.indices].tolist(), strict=True):
        is_new = new_addresses is not None and value not in new_addresses
        if is_new and is_known(name_kept):
            findings.add(
                rules.DUPLICATE_SYMBOL,
                f"symbol {text_of(name_kept)} is already known to Xen or to a loaded payload",
                words={"name": name_kept},
                symbol=text_of(name_kept),
                hint="rename it, or make it a .L label, which does not enter the symbol table",
            )
            continue
        out.append(PayloadSymbol(name_kept, value, size, is_new))
    return tuple(out)


def _symbols_to_keep(payload: ObjectFile) -> _Kept:
    table = payload.symbols.table
    section_index = table["section"]
    defined = (section_index != elf.SHN_UNDEF) & (section_index < payload.header.section_count)
    allocated = np.array([False, *(section.is_allocated for section in payload.sections)])
    merged = np.array([False, *(bool(section.flags & elf.SHF_MERGE) for section in payload.sections)])
    inside = np.where(defined, section_index, 0)
    candidates = np.flatnonzero(allocated[inside] & defined)
    candidates = candidates[candidates > 0]
    may_run_off = payload.symbols.may_run_off
    rows = [
        (index, name, size & 0xFFFF_FFFF)
        for index, name, size, in_merged in zip(
            candidates.tolist(),
            payload.symbols.names(candidates),
            table["size"][candidates].tolist(),
            merged[inside[candidates]].tolist(),
            strict=True,
        )
        if (name or (may_run_off and isinstance(name, UnterminatedString)))
        and not (in_merged and name.startswith(b".L"))
    ]
    return _Kept(
        np.array([index for index, _, _ in rows], np.intp),
        [name[:NAME_LENGTH] for _, name, _ in rows],
        [size for *_, size in rows],
        next((index for index, name, _ in rows if isinstance(name, UnterminatedString)), None) if may_run_off else None,
    )
