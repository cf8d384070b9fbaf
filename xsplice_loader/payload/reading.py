"""From bytes to an `ObjectFile`: the first of the load's steps (`spec/01 §4` to `§7`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.payload.header import read_header
from xsplice_loader.payload.object_file import ObjectFile, have_unterminated_names
from xsplice_loader.payload.sections import (
    check_sections,
    check_symbol_names,
    check_symbol_table,
    name_sections,
    read_sections,
    read_symbols,
    wraps,
)

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings


def read(data: bytes, findings: Findings) -> ObjectFile | None:
    """Return the payload in `data`, or None where its form is wrong; `findings` says why.

    Tests run in Xen's order. Each group is finished before the next begins, so that one run tells all that is
    wrong with, say, the section headers; later groups build on earlier ones and are not reached then.
    """
    before = len(findings)
    header = read_header(data, findings)
    if header is None:
        return None
    sections = read_sections(data, header)
    symbol_section = check_sections(data, sections, findings)
    if symbol_section is None or findings.errors_since(before):
        return None
    if not check_symbol_table(data, sections, symbol_section, findings):
        return None
    named = name_sections(data, header, sections, findings)
    if named is None:
        return None
    symbols = read_symbols(data, sections, symbol_section, findings)
    if symbols is None or not check_symbol_names(symbols, sections[symbol_section.link - 1].size, findings):
        return None
    # A name table that does not wrap ends with NUL.
    runs_off = wraps(sections[header.name_table_index - 1]) and have_unterminated_names(named)
    return ObjectFile(data, header, named, symbols, has_unterminated_names=runs_off)
