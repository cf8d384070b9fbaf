"""The source file and line of a place in a payload, from its DWARF line tables (`.debug_line`).

A payload's debug sections are not loaded, and their own relocations are not Xen's business; until those are applied,
a line table says nothing but zeros. They are applied here to a copy of the file, with the addresses that the payload
was given, and pyelftools reads the result.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.findings import Findings
from xsplice_loader.payload import elf, text_of
from xsplice_loader.releases import NEWEST
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import TYPES
from xsplice_loader.rules import placing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.payload import Section
    from xsplice_loader.relocation.trace import LoadTrace
    from xsplice_loader.results import Finding

SHF_COMPRESSED = 0x800
DEBUG = b".debug_"
LINE_TABLE = ".debug_line"


class Line(NamedTuple):
    """From `address` on, code was compiled from this line; a `file` of None ends what went before."""

    address: int
    file: str | None
    number: int


def with_source_lines(findings: Sequence[Finding], trace: LoadTrace) -> list[Finding]:
    """Return findings with the source lines of the places that they name, as far as the payload tells them."""
    if trace.payload.section_named(LINE_TABLE) is None:
        return list(findings)
    lines = source_lines(trace)
    starts = [line.address for line in lines]
    return [_with_line(finding, trace, lines, starts) for finding in findings]


def has_place(finding: Finding) -> bool:
    """Tell whether a finding is about a place in the payload, or about a symbol that some place names."""
    return finding.offset is not None or finding.rule == placing.UNKNOWN_SYMBOL.id


def _with_line(finding: Finding, trace: LoadTrace, lines: Sequence[Line], starts: Sequence[int]) -> Finding:
    address = _place_of(finding, trace) if has_place(finding) else None
    if address is None:
        return finding
    at = bisect_right(starts, address) - 1
    if at < 0 or lines[at].file is None:
        return finding
    return replace(finding, source_file=lines[at].file, source_line=lines[at].number)


def _place_of(finding: Finding, trace: LoadTrace) -> int | None:
    if finding.offset is None:
        return _first_use(finding.index or 0, trace)
    section = trace.payload.section_named(finding.section) if finding.section is not None else None
    address = None if section is None else trace.placement.addresses.get(section.index)
    return None if address is None else address + finding.offset


def _first_use(symbol: int, trace: LoadTrace) -> int | None:
    """Return the address of the first field whose relocation names a symbol."""
    for group in relocation_sections(trace.payload, Findings(NEWEST)):
        rows = np.flatnonzero(group.entries["symbol"] == symbol)
        address = trace.placement.addresses.get(group.target.index)
        if len(rows) and address is not None:
            return address + int(group.entries["offset"][rows[0]])
    return None


def source_lines(trace: LoadTrace) -> list[Line]:
    """Return the line table of a loaded payload, by address; empty where it has none that can be read."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - 40 ms that few payloads need

    # A kilobyte may claim to unfold to gigabytes; relocations could not be applied to it as it is, either.
    if any(section.flags & SHF_COMPRESSED for section in trace.payload.sections if section.name.startswith(DEBUG)):
        return []
    try:
        file = ELFFile(io.BytesIO(_with_debug_relocated(trace)))
        found = list(_lines_in(file.get_dwarf_info(relocate_dwarf_sections=False)))
    except Exception:
        # Debug information is written by compilers, but a payload may hold anything at all in its place, and what
        # pyelftools raises then is whatever it ran into. No line is worth a cell.
        return []
    # One function may begin where another ends.
    return sorted(found, key=lambda line: (line.address, line.file is not None))


def _lines_in(dwarf: object) -> Iterator[Line]:
    for unit in dwarf.iter_CUs():  # type: ignore[attr-defined]
        program = dwarf.line_program_for_CU(unit)  # type: ignore[attr-defined]
        if program is None:
            continue
        header = program.header
        compiled_in = _compiled_in(unit)
        names: dict[int, str] = {}
        # File numbers begin at 1 up to DWARF 4 and at 0 from DWARF 5 on.
        first = 0 if header["version"] >= 5 else 1
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            known = 0 <= state.file - first < len(header["file_entry"])
            if state.end_sequence or not known:
                yield Line(state.address, None, 0)
                continue
            if state.file not in names:
                names[state.file] = _from_here(compiled_in, _name(header, state.file - first))
            yield Line(state.address, names[state.file], state.line)


def _compiled_in(unit: object) -> str:
    """Return the directory that the compiler ran in; empty if it is not told."""
    directory = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")  # type: ignore[attr-defined]
    return "" if directory is None else text_of(directory.value)


def _from_here(compiled_in: str, name: str) -> str:
    """Return a name that is relative to where the compiler ran as one from here, if that is below here."""
    if not os.path.isabs(compiled_in):
        return name
    from_here = os.path.relpath(os.path.join(compiled_in, name))
    return name if from_here.startswith(os.pardir) else from_here


def _name(header: object, index: int) -> str:
    entry = header["file_entry"][index]  # type: ignore[index]
    directories = header["include_directory"]  # type: ignore[index]
    at = entry.dir_index - (0 if header["version"] >= 5 else 1)  # type: ignore[index]
    name = entry.name
    # Directory 0 is where the compiler ran: names are kept relative to it, as a patch's own build has them.
    is_beside = at < (1 if header["version"] >= 5 else 0)  # type: ignore[index]
    return text_of(name if is_beside or at >= len(directories) else directories[at] + b"/" + name)


def _with_debug_relocated(trace: LoadTrace) -> bytes:
    payload = trace.payload
    data = np.frombuffer(payload.data, np.uint8).copy()
    for section in payload.sections:
        if section.type != elf.SHT_RELA or not 0 < section.info < payload.header.section_count:
            continue
        target = payload.section(section.info)
        if target.name.startswith(DEBUG) and not target.is_nobits:
            _relocate(data[target.offset : target.offset + target.size], section, trace)
    return data.tobytes()


def _relocate(contents: np.ndarray, section: Section, trace: LoadTrace) -> None:
    """Apply S + A where the formula is that; debug sections have no other kind that line tables need."""
    if section.entry_size < elf.RELA_SIZE or section.size % section.entry_size:
        return
    entries = trace.payload.relocation_entries(section)
    entries = entries[entries["symbol"] < len(trace.symbols.values)]
    for number in np.unique(entries["type"]).tolist():
        kind = TYPES.get(number)
        if kind is None or kind.formula != "S + A" or kind.width not in (32, 64):
            continue
        width = kind.width // 8
        rows = entries[(entries["type"] == number) & (entries["offset"] + np.uint64(width) <= len(contents))]
        values = trace.symbols.values[rows["symbol"]] + rows["addend"].view(np.uint64)
        fields = np.ndarray((max(len(contents) - width + 1, 0),), f"<u{width}", contents.data, strides=(1,))
        fields[rows["offset"].astype(np.int64)] = values.astype(f"<u{width}")
