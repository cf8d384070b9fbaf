"""What Xen makes of a relocated payload's special sections, in its order (`spec/01 §14`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from xsplice_loader.livepatch import functions
from xsplice_loader.livepatch.live_functions import NO_FUNCTIONS, LiveTable
from xsplice_loader.livepatch.loaded import has_whole_entries
from xsplice_loader.livepatch.notes import NOTE_HEADER, BrokenNote, LiveId, NotedId, parse_build_id
from xsplice_loader.livepatch.sections import XEN_DEPENDS, find_section, may_find, refuse_overrun
from xsplice_loader.memory.placement import is_refused
from xsplice_loader.rules import content as rules
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.functions import FunctionEntry
    from xsplice_loader.livepatch.loaded import LoadedSections, RunningXen
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.resolution import Lookup
    from xsplice_loader.rules import Rule

POINTER_SIZE = 8
TABLES = (
    ".altinstructions",
    ".alt_call_sites",
    ".ex_table",
    ".modinfo",
    *(f".bug_frames.{kind}" for kind in range(4)),
)
"""Sections that Xen works on while loading."""
BUILD_ID = ".note.gnu.build-id"
DEPENDS = ".livepatch.depends"


class Prepared(NamedTuple):
    """What a payload turned out to be."""

    entries: tuple[FunctionEntry, ...]
    table: LiveTable
    """The table of functions in memory."""
    new_addresses: frozenset[int] | None
    """Where the new functions begin; None where the table could not be read."""
    build_id: LiveId | None
    depends: LiveId | None
    xen_depends: LiveId | None
    payload: ObjectFile
    """The payload as it is read after all that."""


def prepare(
    sections: LoadedSections,
    xen: RunningXen,
    lookup: Lookup,
    loaded_ids: Mapping[bytes, str],
    findings: Findings,
) -> Prepared:
    """Test functions, hooks and notes, and carry tables out.

    `loaded_ids` maps the build-ids of loaded payloads to their names.
    """
    # Xen looks for the functions once, and a table may change names of sections.
    section = sections.payload.section_named(functions.SECTION)
    table = _live_table(section, sections.placement, findings.release)
    entries, new_addresses, sections = _prepare_functions(sections, xen.memory, lookup, findings)
    _check_hooks(sections.payload, findings)
    build_id = _read_note(sections, BUILD_ID, rules.OWN_ID_MALFORMED, findings)
    twin = None if build_id is None else loaded_ids.get(build_id.contents)
    if build_id is not None and twin is not None:
        findings.add(
            rules.SAME_ID_LOADED,
            f"the payload's build-id {build_id.contents.hex()} is that of {twin}, which is loaded",
            section=BUILD_ID,
        )
    depends = _read_note(sections, DEPENDS, rules.DEPENDS_MALFORMED, findings)
    xen_depends = None
    if findings.release.xen_build_id_check == "late":
        xen_depends = _read_note(sections, XEN_DEPENDS, rules.XEN_DEPENDS_LATE_MALFORMED, findings)
    if may_find(sections.payload, TABLES):
        # Few payloads have tables, and what carries them out takes longer to import than most payloads to load.
        from xsplice_loader.livepatch.tables import prepare_tables  # noqa: PLC0415

        sections = prepare_tables(sections, xen, findings)
        # A table may change another, and what comes later finds the functions as they are by then.
        contents = sections.contents(section) if section is not None else None
        if contents is not None and new_addresses is not None:
            entries, new_addresses = _as_they_are(entries, contents, findings.release.function_entry_size)
    return Prepared(
        entries,
        table,
        new_addresses,
        build_id,
        depends,
        xen_depends,
        sections.payload,
    )


def check_xen_build_id_late(
    xen_depends: bytes | None, xen_build_id: bytes | None, *, compare: bool, findings: Findings
) -> None:
    """Compare the build-id that the payload is for with the hypervisor's (4.14 up to SET-D).

    `compare` is false where the hypervisor's is not known.
    """
    if xen_depends is None or not compare:
        return
    if xen_build_id is None:
        findings.add(rules.XEN_WITHOUT_BUILD_ID_LATE, "the hypervisor has no build-id to compare with")
    elif xen_depends != xen_build_id:
        findings.add(
            rules.OTHER_XEN_LATE,
            f"the payload is for the Xen with build-id {xen_depends.hex()}, but this one has {xen_build_id.hex()}",
            section=XEN_DEPENDS,
        )


_ids: WeakKeyDictionary[ObjectFile, dict[str, bytes | None]] = WeakKeyDictionary()


def read_ids(sections: ObjectFile) -> dict[str, bytes | None]:
    """Return the build-ids that a file names, by section name, without any finding (for choosing a hypervisor)."""
    if sections in _ids:
        return _ids[sections]
    ids: dict[str, bytes | None] = {}
    for name in (BUILD_ID, DEPENDS, XEN_DEPENDS):
        section = sections.section_named(name)
        parsed = parse_build_id(sections.bytes_of(section) + bytes(3), section.size) if section is not None else None
        ids[name] = parsed.contents if isinstance(parsed, NotedId) else None
    _ids[sections] = ids
    return ids


def _prepare_functions(
    sections: LoadedSections, memory: AddressSpace, lookup: Lookup, findings: Findings
) -> tuple[tuple[FunctionEntry, ...], frozenset[int] | None, LoadedSections]:
    section = find_section(sections.payload, functions.SECTION, "prepare", findings)
    if section is None:
        return (), frozenset(), sections
    if not has_whole_entries(section, findings.release.function_entry_size, findings):
        return (), None, sections
    table = sections.in_place(section)
    if table is None:
        if section.size and not is_refused(section, findings.release):
            if findings.release.passes_note_errors:
                return _prepare_left_functions(section, sections, functions.FunctionTable(memory, lookup, findings))
            findings.add(
                rules.FUNCTIONS_NOT_LOADED,
                f"{functions.SECTION} lacks SHF_ALLOC, so it was neither loaded nor relocated; Xen would use "
                "it all the same",
                section=functions.SECTION,
                index=section.index,
            )
        return (), None, sections
    refused = sections.refused.get(section.index, ())
    reader = functions.FunctionTable(memory, lookup, findings)
    entries = reader.read(table, refused)
    return entries, None if refused else frozenset(reader.new_addresses), sections


def _prepare_left_functions(
    section: Section, sections: LoadedSections, reader: functions.FunctionTable
) -> tuple[tuple[FunctionEntry, ...], frozenset[int] | None, LoadedSections]:
    """Test a table that was not loaded as Xen finds it in the upload's buffer, unrelocated."""
    reader.findings.add(
        rules.DATA_DANGLES,
        f"{functions.SECTION} lacks SHF_ALLOC, so it was neither loaded nor relocated: Xen tests its raw bytes, and "
        "keeps a pointer to them into memory that is freed after the upload",
        section=functions.SECTION,
        index=section.index,
    )
    table = bytearray(sections.payload.uploaded(section))
    entries = reader.read(table, ())
    if len(table) < section.size:
        refuse_overrun(section, reader.findings)
    return entries, frozenset(reader.new_addresses), sections.with_uploaded(section, bytes(table))


def _as_they_are(
    entries: tuple[FunctionEntry, ...], table: bytes, entry_size: int
) -> tuple[tuple[FunctionEntry, ...], frozenset[int]]:
    rows = [functions.ENTRY.unpack_from(table, start) for start in range(0, len(table), entry_size)]
    changed = []
    for entry in entries:
        _, new_addr, old_addr, new_size, old_size, _ = rows[entry.index]
        changed.append(entry._replace(new_addr=new_addr, old_addr=old_addr, new_size=new_size, old_size=old_size))
    return tuple(changed), frozenset(row[1] for row in rows)


def _live_table(section: Section | None, placement: Placement, release: Release) -> LiveTable:
    if section is None:
        return NO_FUNCTIONS
    address = placement.addresses.get(section.index)
    if address is None:
        # The address of what was left in the upload's buffer leads nowhere, as 0 does.
        return LiveTable(0, section.size // release.function_entry_size) if release.passes_note_errors else NO_FUNCTIONS
    return LiveTable(address, section.size // release.function_entry_size)


def _check_hooks(payload: ObjectFile, findings: Findings) -> None:
    if not may_find(payload, findings.release.hook_arrays) and not may_find(payload, findings.release.single_hooks):
        return
    for name in findings.release.hook_arrays:
        section = find_section(payload, name, "prepare", findings)
        if section is not None:
            has_whole_entries(section, POINTER_SIZE, findings)
    for name in findings.release.single_hooks:
        section = find_section(payload, name, "prepare", findings)
        if section is not None and has_whole_entries(section, POINTER_SIZE, findings) and section.size != POINTER_SIZE:
            findings.add(
                rules.SINGLE_HOOK_SIZE,
                f"{name} has {section.size} bytes; it must hold exactly one pointer of {POINTER_SIZE}",
                section=name,
                index=section.index,
            )
    if findings.release.passes_note_errors:
        for name in (*findings.release.hook_arrays, *findings.release.single_hooks):
            section = payload.section_named(name)
            if section is not None and not section.is_allocated:
                findings.add(
                    rules.DATA_DANGLES,
                    f"{name} lacks SHF_ALLOC: Xen keeps a pointer to it into memory that is freed after the upload, "
                    "and will follow that at apply",
                    section=name,
                    index=section.index,
                )


def _read_note(sections: LoadedSections, name: str, malformed: Rule, findings: Findings) -> LiveId | None:
    section = find_section(sections.payload, name, "prepare", findings)
    if section is None or section.size == 0:
        return None
    memory = sections.contents(section, extra=3)
    passes = findings.release.passes_note_errors
    if memory is None and is_refused(section, findings.release):
        return None
    if memory is None:
        if section.size > NOTE_HEADER.size and not passes:
            findings.add(
                rules.NOTE_NOT_LOADED,
                f"{name} lacks SHF_ALLOC, so it was not loaded; Xen would read it through a NULL pointer",
                section=name,
                index=section.index,
            )
            return None
        memory = sections.payload.uploaded(section, 3)
        if passes:
            findings.add(
                rules.NOTE_DANGLES,
                f"{name} lacks SHF_ALLOC: Xen keeps a pointer to its id into memory that is freed after the upload",
                section=name,
                index=section.index,
            )
    parsed = parse_build_id(memory, section.size)
    if not isinstance(parsed, BrokenNote):
        address = sections.placement.addresses.get(section.index)
        contents = parsed.contents
        if len(contents) < parsed.size:
            # Padding of the name may make the id end up to 3 bytes after the payload's last page.
            contents += bytes(min(3, parsed.size - len(contents)))
        return LiveId(None if address is None else address + parsed.offset, contents)
    if parsed.errno is None:
        refuse_overrun(section, findings)
        return None
    findings.add(
        malformed,
        f"{name} is no build-id note: {parsed.reason}",
        errno=ERRNOS[parsed.errno] if passes else None,
        section=name,
        index=section.index,
    )
    return None
