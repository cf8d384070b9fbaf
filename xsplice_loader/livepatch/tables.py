"""The tables that Xen works on while it loads (`spec/01 §14.6` to `§14.10`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch import alternative_calls, alternatives_table, exception_table
from xsplice_loader.livepatch.alternatives import apply_alternatives
from xsplice_loader.livepatch.loaded import has_whole_entries
from xsplice_loader.livepatch.sections import find_section, refuse_overrun
from xsplice_loader.memory.placement import is_refused
from xsplice_loader.payload.upload_buffer import UPLOAD_ADDRESS
from xsplice_loader.rules import content as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.loaded import LoadedSections, RunningXen
    from xsplice_loader.payload import Section

BUG_FRAME_SIZE = 8
BUG_FRAMES = tuple(f".bug_frames.{kind}" for kind in range(4))
EXCEPTION_TABLE = ".ex_table"


def prepare_tables(sections: LoadedSections, xen: RunningXen, findings: Findings) -> LoadedSections:
    """Test and apply the tables that Xen works on while loading; return the sections as they are afterwards."""
    release = findings.release
    for name in BUG_FRAMES:
        _whole_table(sections, name, BUG_FRAME_SIZE, findings)
    table = _whole_table(sections, alternatives_table.SECTION, release.alternatives_entry_size, findings)
    if table is not None:
        apply_alternatives(alternatives_table.AlternativesTable(table, sections, findings), xen)
    if release.has_alternative_calls:
        table = _whole_table(sections, alternative_calls.SECTION, alternative_calls.ENTRY_SIZE, findings)
        if table is not None:
            alternative_calls.apply_alternative_calls(table, sections, xen, findings)
    table = _whole_table(sections, EXCEPTION_TABLE, exception_table.ENTRY_SIZE, findings)
    if table is not None:
        sections = _prepare_exception_table(table, sections, findings)
    if release.has_metadata:
        _check_metadata(sections, findings)
    return sections


def _whole_table(sections: LoadedSections, name: str, entry_size: int, findings: Findings) -> Section | None:
    section = find_section(sections.payload, name, "prepare", findings)
    return section if section is not None and has_whole_entries(section, entry_size, findings) else None


def _prepare_exception_table(section: Section, sections: LoadedSections, findings: Findings) -> LoadedSections:
    if section.size == 0:
        if not findings.release.empty_exception_table:
            findings.add(
                rules.EMPTY_EXCEPTION_TABLE,
                f"{EXCEPTION_TABLE} is empty",
                section=EXCEPTION_TABLE,
                index=section.index,
            )
        return sections
    _check_loaded(sections, section, findings)
    table = sections.contents(section)
    if table is None and findings.release.passes_note_errors and not is_refused(section, findings.release):
        return _sort_in_upload(section, sections, findings)
    if table is not None and not sections.meaningless(section, exception_table.ENTRY_SIZE):
        address = sections.placement.addresses[section.index]
        offset = findings.release.heap_child_offset
        has_unknown = sections.mapping.has_unknown(address, section.size)
        sections.write(section, exception_table.sort_exception_table(table, address, offset))
        if has_unknown:
            sections.mark_unknown(address, section.size, "is sorted by entries that are unknown")
    return sections


def _sort_in_upload(section: Section, sections: LoadedSections, findings: Findings) -> LoadedSections:
    """Sort a table that was not loaded where Xen finds it, in the upload buffer."""
    table = sections.payload.uploaded(section)
    if len(table) == section.size:
        address = UPLOAD_ADDRESS + section.offset
        offset = findings.release.heap_child_offset
        return sections.with_uploaded(section, exception_table.sort_exception_table(table, address, offset))
    refuse_overrun(section, findings)
    return sections


def _check_metadata(sections: LoadedSections, findings: Findings) -> None:
    section = find_section(sections.payload, ".modinfo", "prepare", findings)
    if section is None:
        return
    # Xen keeps the length in 32 bits.
    length = section.size & 0xFFFF_FFFF
    if length == 0:
        findings.add(
            rules.METADATA_EMPTY,
            ".modinfo is empty: Xen would read the byte 4 GiB behind it",
            section=".modinfo",
            index=section.index,
        )
        return
    _check_loaded(sections, section, findings)
    contents = sections.contents(section)
    if contents is None and (not findings.release.passes_note_errors or is_refused(section, findings.release)):
        return
    last = contents[-1] if contents else sections.payload.uploaded_byte(section.offset + length - 1)
    if last is None:
        refuse_overrun(section, findings)
    elif last:
        findings.add(
            rules.METADATA_FORM,
            f".modinfo ends with byte {last:#04x} instead of NUL",
            section=".modinfo",
            index=section.index,
        )


def _check_loaded(sections: LoadedSections, section: Section, findings: Findings) -> None:
    if section.index in sections.placement.addresses or is_refused(section, findings.release):
        return
    name = section.text_name
    # The release that reads notes from the upload buffer does so with every section that was not loaded.
    if findings.release.passes_note_errors:
        findings.add(
            rules.DATA_DANGLES,
            f"{name} lacks SHF_ALLOC: Xen keeps a pointer into memory that is freed after the upload",
            section=name,
            index=section.index,
        )
    else:
        findings.add(
            rules.TABLE_NOT_LOADED,
            f"{name} lacks SHF_ALLOC, so it was not loaded; Xen would use it through a NULL pointer",
            section=name,
            index=section.index,
        )
