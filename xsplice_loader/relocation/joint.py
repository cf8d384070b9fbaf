"""All relocations of a payload in one pass, where there is nothing to refuse.

Most payloads have a dozen small sections of relocations, and column arithmetic on twenty rows costs as much as on
thousands. Whatever does not depend on addresses (which rows there are, their types, where in the payload their fields
lie, and that they lie inside and apart) is found out once for a payload; what is left for each host is one gather, one
sum and one scatter for fields of either width. As soon as anything is not in order, nothing is written and the sections
are gone through one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from xsplice_loader.findings import Findings
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.relocation.engine import BLOCK
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import R_X86_64_64, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_PLT32, totals

if TYPE_CHECKING:
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.resolution import ResolvedSymbols
    from xsplice_loader.relocation.sections import RelocationSection
    from xsplice_loader.results import RelocationTotals


class Fields(NamedTuple):
    """Rows whose fields are of one width; a column of each."""

    symbol: np.ndarray
    position: np.ndarray
    """How far behind the payload's base the field begins."""
    added: np.ndarray
    """What is added to S: A, for relative fields less the position, modulo 2^64; the base is left to subtract."""


class Joint(NamedTuple):
    """What there is to do for one payload, wherever it stands."""

    relative: Fields
    absolute: Fields
    totals: RelocationTotals
    symbols: np.ndarray
    """The symbol of each row."""


_FIELD32, _FIELD64 = np.dtype("<u4"), np.dtype("<u8")
_TYPES = (R_X86_64_NONE, R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32)
_known: WeakKeyDictionary[ObjectFile, dict[bool, Joint | None]] = WeakKeyDictionary()
"""By whether empty sections are ignored, as layouts are."""


def joint_of(payload: ObjectFile, placement: Placement, release: Release) -> Joint | None:
    """Return a payload's relocations as one, or None where they are too many or not all in order.

    What is wrong is found again by who goes through the sections one by one.
    """
    if release.passes_note_errors and payload.has_loaded_relocations:
        # Read where they were loaded, as changed by the relocations before them.
        return None
    known = _known.setdefault(payload, {})
    ignores = release.ignores_empty_sections
    if ignores not in known:
        findings = Findings(release)
        groups = list(relocation_sections(payload, findings))
        known[ignores] = None if len(findings) else _joined(payload, placement, groups)
    return known[ignores]


def _joined(payload: ObjectFile, placement: Placement, groups: list[RelocationSection]) -> Joint | None:
    count = sum(len(group.entries) for group in groups)
    # A long section fills a block by itself.
    if len(groups) < 2 or count > BLOCK:
        return None
    # Sections may land on others with such alignments, and then it matters who writes last (`spec/02 §3`).
    if [True for section in payload.sections if not 0 < section.alignment <= PAGE_SIZE and section.is_allocated]:
        return None
    lengths = [len(group.entries) for group in groups]
    if lengths != [group.section.size // group.section.entry_size for group in groups]:
        return None
    target = np.repeat(np.array([group.target.index for group in groups], np.int64), lengths)
    size = np.repeat(np.array([group.target.size for group in groups], np.uint64), lengths)
    dtype = groups[0].entries.dtype
    if [True for group in groups if group.entries.dtype is not dtype]:
        return None
    # Joined as bytes: joining column by column takes five times as long.
    rows = np.frombuffer(b"".join([group.entries.tobytes() for group in groups]), dtype)
    offset, kind, symbol, addend = rows["offset"], rows["type"], rows["symbol"].copy(), rows["addend"].copy()
    relative = (kind == R_X86_64_PC32) | (kind == R_X86_64_PLT32)
    absolute = kind == R_X86_64_64
    width = np.where(relative, 4, np.where(absolute, 8, 0)).astype(np.uint64)
    in_order = (
        np.count_nonzero(relative | absolute | (kind == R_X86_64_NONE)) == count
        and np.count_nonzero(symbol) == count
        and np.count_nonzero(symbol < len(payload.symbols)) == count
        and np.count_nonzero(offset < size) == count
        and np.count_nonzero(offset + width <= size) == count
        and not _overlap(target, offset, width, len({group.target.index for group in groups}))
    )
    if not in_order:
        return None
    starts = {place.index: place.start for place in placement.places}
    position = np.repeat(np.array([starts.get(group.target.index, 0) for group in groups], np.uint64), lengths) + offset
    added = addend.view(np.uint64)
    counts = {number: int(np.count_nonzero(kind == number)) for number in _TYPES}
    return Joint(
        Fields(symbol[relative], position[relative].astype(np.intp), (added - position)[relative]),
        Fields(symbol[absolute], position[absolute].astype(np.intp), added[absolute]),
        totals(counts),
        symbol,
    )


def _overlap(target: np.ndarray, offset: np.ndarray, width: np.ndarray, targets: int) -> bool:
    """Tell whether any two fields share a byte, in `targets` sections. Then the order of writing matters."""
    same = target[1:] == target[:-1]
    borders = len(same) - np.count_nonzero(same)
    is_sorted = np.count_nonzero(same & (offset[1:] <= offset[:-1])) == 0
    if not is_sorted or borders + 1 != targets:
        order = np.lexsort((offset, target))
        target, offset, width = target[order], offset[order], width[order]
        same = target[1:] == target[:-1]
    return bool(np.count_nonzero(same & (offset[1:] - offset[:-1] < width[:-1])))


def apply(joint: Joint, placement: Placement, symbols: ResolvedSymbols, image: np.ndarray) -> bool:
    """Write every field, or none where some row cannot be applied; tell which."""
    # On few rows `take` and `count_nonzero` take a third of the time of an index, `all` and `any`.
    named, usable, unplaced = joint.symbols, symbols.usable, symbols.unplaced
    if np.count_nonzero(usable) < len(usable) - 1 and np.count_nonzero(usable.take(named)) < len(named):
        return False
    if np.count_nonzero(unplaced) and np.count_nonzero(unplaced.take(named)):
        return False
    relative, absolute = joint.relative, joint.absolute
    value = symbols.values.take(relative.symbol)
    value += relative.added
    value -= np.uint64(placement.base)
    whole = value.view(np.int64)
    cut = whole.astype(np.int32)
    if np.count_nonzero(cut != whole):
        return False
    _fields(image, _FIELD32)[relative.position] = cut.view(np.uint32)
    if len(absolute.symbol):
        _fields(image, _FIELD64)[absolute.position] = symbols.values.take(absolute.symbol) + absolute.added
    return True


def _fields(image: np.ndarray, field: np.dtype[Any]) -> np.ndarray:
    """Return the image as overlapping fields: element i is the field at offset i."""
    return np.ndarray((max(len(image) - field.itemsize + 1, 0),), field, image.data, strides=(1,))
