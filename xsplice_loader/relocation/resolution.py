"""From symbols to addresses (`spec/03 §1`).

Neither binding nor type of a symbol is looked at, only its section index: undefined symbols are looked up,
absolute ones keep their value, the others get their section's address added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from xsplice_loader.c_strings import UnterminatedString
from xsplice_loader.memory.placement import is_refused
from xsplice_loader.payload import elf, text_of
from xsplice_loader.rules import observations
from xsplice_loader.rules import placing as rules
from xsplice_loader.rules.sections import UPLOAD_OVERRUN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsplice_loader.findings import Findings
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile
    from xsplice_loader.releases import Release


class ResolvedSymbols(NamedTuple):
    """What each symbol of a payload stands for. Columns have one row a symbol."""

    values: np.ndarray
    """S, as uint64."""
    usable: np.ndarray
    """Whether a relocation may use it, as bool; row 0 never is."""
    unplaced: np.ndarray
    """Defined in a section that got no address, so that `values` holds the raw value, as bool."""
    assumed: np.ndarray
    """Not found, but taken to lie at the start of Xen's image, as bool."""
    sections: np.ndarray
    """The address of each section by its index, as uint64; 0 for those without one."""
    buffer: bytes | None = None
    """The upload buffer with the values in it, where that changes anything else that is read of it."""


def no_name(_prefix: bytes) -> bool:
    """Tell that no name begins with a prefix."""
    return False


class Lookup(NamedTuple):
    """Where undefined symbols are looked up."""

    address_of: Callable[[bytes], int | None]
    """Xen's table first, then the loaded payloads'."""
    names_like: Callable[[bytes], Sequence[bytes]]
    """Known names that resemble one, for a hint."""
    assumed_address: int | None
    """What to take for a symbol that is not found; None: refuse it."""
    begins_a_name: Callable[[bytes], bool] = no_name
    """Whether any name of Xen's table begins with these bytes."""

    def find(self, name: bytes) -> int | None:
        """Return the address of a name, or None; what has no end is equal to no name."""
        return None if isinstance(name, UnterminatedString) else self.address_of(name)

    def find_or_assume(self, name: bytes) -> int | None:
        """Return the address of a name, or what is taken for one that is not found."""
        found = self.find(name)
        return self.assumed_address if found is None and name else found

    def faults_on(self, name: bytes) -> bool:
        """Tell whether the search itself runs off a name without an end; it compares up to the first difference."""
        return isinstance(name, UnterminatedString) and (not name or self.begins_a_name(name))


class _Sorts(NamedTuple):
    """A payload's symbols by what there is to do for them, wherever it stands."""

    placed: np.ndarray
    """The indices of the placed sections."""
    starts: np.ndarray
    """How far behind the base each of these begins."""
    values: np.ndarray
    """`st_value` of each."""
    sections: np.ndarray
    """Of each the section that it is defined in, 0 for none."""
    usable: np.ndarray
    """Which are absolute, or defined in a section that Xen does not refuse."""
    unplaced: np.ndarray
    """Which of these are defined in a section that gets no address."""
    undefined: np.ndarray
    """The indices of those to look up."""
    names: tuple[bytes, ...]
    """Their names; none where storing values may change them."""
    strange: np.ndarray
    """The indices of those whose section index is none."""
    change_file: bool
    """Whether storing their values changes anything else that Xen reads of the file."""


_known: WeakKeyDictionary[ObjectFile, dict[bool, _Sorts]] = WeakKeyDictionary()
"""By whether empty sections are ignored, as layouts are."""


def _sorts_of(payload: ObjectFile, placement: Placement, release: Release) -> _Sorts:
    table = payload.symbols.table
    index = table["section"]
    defined = (index != elf.SHN_UNDEF) & (index < payload.header.section_count)
    sections = np.where(defined, index, 0)
    refused = np.array([False, *[is_refused(section, release) for section in payload.sections]])
    placed = np.array([place.index for place in placement.places], np.intp)
    has_address = np.zeros(payload.header.section_count, bool)
    has_address[placed] = True
    absolute = index == elf.SHN_ABS
    undefined = np.flatnonzero(index[1:] == elf.SHN_UNDEF) + 1
    strange = np.flatnonzero(~(defined | absolute)[1:] & (index[1:] != elf.SHN_UNDEF)) + 1
    to_use = defined & ~refused[sections]
    usable = to_use | absolute
    usable[0] = False
    change_file = payload.is_changed_by_symbols()
    return _Sorts(
        placed,
        np.array([place.start for place in placement.places], np.uint64),
        table["value"],
        sections,
        usable,
        to_use & ~has_address[sections],
        undefined,
        () if change_file else tuple(payload.symbols.names(undefined)),
        strange,
        change_file,
    )


def resolve(payload: ObjectFile, placement: Placement, lookup: Lookup, findings: Findings) -> ResolvedSymbols:
    """Give every symbol its address. Symbols that Xen refuses become unusable."""
    symbols = payload.symbols
    count = payload.header.section_count

    known = _known.setdefault(payload, {})
    ignores = findings.release.ignores_empty_sections
    sorts = known.get(ignores)
    if sorts is None:
        sorts = known[ignores] = _sorts_of(payload, placement, findings.release)
    addresses = np.zeros(count, np.uint64)
    addresses[sorts.placed] = sorts.starts + np.uint64(placement.base)
    values = sorts.values + addresses.take(sorts.sections)
    usable = sorts.usable.copy()
    unplaced = sorts.unplaced
    assumed = np.zeros(len(symbols), bool)

    undefined, names, strange = sorts.undefined, sorts.names, sorts.strange
    buffer: bytes | None = None
    name_of: Callable[[int], bytes | None] = symbols.name
    if sorts.change_file:
        # Few payloads are, and none that a linker made.
        from xsplice_loader.relocation.symbol_values import store_values  # noqa: PLC0415

        stored = store_values(payload, addresses, lookup.find_or_assume, findings.release)
        values, unplaced, buffer, name_of = stored.values, stored.unplaced & usable, stored.buffer, stored.names.get
        names = tuple(stored.names[index] for index in undefined.tolist())
    addresses_found = list(map(lookup.find if symbols.may_run_off or buffer else lookup.address_of, names))
    if None not in addresses_found and not len(strange):
        values[undefined] = np.array(addresses_found, np.uint64)
        usable[undefined] = True
        return _resolved(values, usable, unplaced, assumed, addresses, buffer, findings)
    address_by_index = dict(zip(undefined.tolist(), addresses_found, strict=True))
    section_index = symbols.table["section"]
    for index in np.union1d(undefined, strange).tolist():
        name = name_of(index) or b""
        where = int(section_index[index])
        if where != elf.SHN_UNDEF:
            _refuse_index(name, index, where, count, findings)
            continue
        found = address_by_index[index]
        if found is None:
            if lookup.assumed_address is None or not name or isinstance(name, UnterminatedString):
                _refuse_unknown(name, index, lookup, findings)
                continue
            findings.add(
                observations.ASSUMED_SYMBOL,
                f"symbol {text_of(name)} is taken to lie somewhere in Xen's image",
                symbol=text_of(name),
                index=index,
            )
            found = lookup.assumed_address
            assumed[index] = True
        values[index] = found
        usable[index] = True

    return _resolved(values, usable, unplaced, assumed, addresses, buffer, findings)


def _resolved(
    values: np.ndarray,
    usable: np.ndarray,
    unplaced: np.ndarray,
    assumed: np.ndarray,
    sections: np.ndarray,
    buffer: bytes | None,
    findings: Findings,
) -> ResolvedSymbols:
    if findings.release.refuses_ignored_symbols:
        usable &= ~unplaced
    return ResolvedSymbols(values, usable, unplaced, assumed, sections, buffer)


def _refuse_index(name: bytes, index: int, where: int, count: int, findings: Findings) -> None:
    shown = text_of(name) or f"number {index}"
    if where == elf.SHN_COMMON:
        findings.add(
            rules.COMMON_SYMBOL,
            f"symbol {shown} is in COMMON, which a linker would still have to allocate",
            words={"name": name},
            symbol=text_of(name),
            index=index,
            hint="compile with -fno-common",
        )
    elif where >= elf.SHN_LORESERVE:
        findings.add(
            rules.RESERVED_SECTION_INDEX,
            f"symbol {shown} has the reserved section index {where:#x}",
            words={"index": where},
            symbol=text_of(name),
            index=index,
        )
    else:
        findings.add(
            rules.SECTION_INDEX_PAST_END,
            f"symbol {shown} is in section {where}, but there are {count}",
            words={"index": where},
            symbol=text_of(name),
            index=index,
        )


def _refuse_unknown(name: bytes, index: int, lookup: Lookup, findings: Findings) -> None:
    if lookup.faults_on(name):
        findings.add(
            UPLOAD_OVERRUN,
            f"the name of symbol {index} runs on into unmapped memory, and Xen follows it when it looks it up",
            stage="resolution",
            symbol=text_of(name),
            index=index,
        )
        return
    near = [text_of(other) for other in lookup.names_like(name)]
    if name == b"_GLOBAL_OFFSET_TABLE_":
        hint = "the code was compiled for a global offset table; compile with -fno-pic, or with hidden visibility"
    elif near:
        hint = "known names like it: " + ", ".join(near)
    else:
        hint = None
    findings.add(
        rules.UNKNOWN_SYMBOL,
        f"symbol {text_of(name) or f'number {index} (it has no name)'} is neither in Xen nor in a loaded payload",
        words={"name": name},
        symbol=text_of(name),
        index=index,
        hint=hint,
    )
