"""Special sections that must be there, and the early look at whom the payload is for (`spec/01 §8`, `§12`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.notes import BrokenNote, parse_build_id
from xsplice_loader.rules import content as rules
from xsplice_loader.rules.errnos import ERRNOS
from xsplice_loader.rules.sections import UPLOAD_OVERRUN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsplice_loader.findings import Findings
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.rules.rule import Stage

XEN_DEPENDS = ".livepatch.xen_depends"
PRINTED_ID = 64
"""Bytes of a build-id that Xen prints at most (`spec/07 15`)."""


def check_xen_build_id_early(
    payload: ObjectFile, xen_build_id: bytes | None, *, compare: bool, findings: Findings
) -> None:
    """Compare the build-id in the file's `.livepatch.xen_depends` with the hypervisor's (SET-D).

    `compare` is false where the hypervisor's is not known; then only the form is tested.
    """
    section = find_section(payload, XEN_DEPENDS, "build-id", findings)
    if section is None:
        findings.add(
            rules.NO_XEN_DEPENDS,
            f"there is no section {XEN_DEPENDS}, so the payload does not say which Xen it is for",
            words={"name": XEN_DEPENDS},
        )
        return
    # Xen reads on in its copy of the file where the id runs past the section (spec/01 13.6).
    parsed = parse_build_id(payload.uploaded(section, 3), section.size)
    if isinstance(parsed, BrokenNote):
        if parsed.errno is None:
            findings.add(
                UPLOAD_OVERRUN,
                f"{XEN_DEPENDS} is at {section.offset:#x} of the file: {parsed.reason}",
                stage="build-id",
                section=XEN_DEPENDS,
                index=section.index,
            )
            return
        findings.add(
            rules.XEN_DEPENDS_MALFORMED,
            f"{XEN_DEPENDS} is no build-id note: {parsed.reason}",
            words={"name": XEN_DEPENDS, "code": -ERRNOS[parsed.errno]},
            section=XEN_DEPENDS,
            index=section.index,
        )
    elif not compare:
        return
    elif len(parsed.contents) < parsed.size == len(xen_build_id or b""):
        findings.add(
            UPLOAD_OVERRUN,
            f"the id in {XEN_DEPENDS} runs on into unmapped memory",
            stage="build-id",
            section=XEN_DEPENDS,
            index=section.index,
        )
    elif xen_build_id is None:
        findings.add(
            rules.XEN_WITHOUT_BUILD_ID,
            "the hypervisor has no build-id to compare with",
            words={"code": -ERRNOS["ENODATA"]},
        )
    elif (parsed.size, parsed.contents) != (len(xen_build_id), xen_build_id):
        findings.add(
            rules.OTHER_XEN,
            f"the payload is for the Xen with build-id {parsed.contents.hex()}, but this one has {xen_build_id.hex()}",
            words={"payload": parsed.contents[:PRINTED_ID].hex(), "xen": xen_build_id[:PRINTED_ID].hex()},
            section=XEN_DEPENDS,
            index=section.index,
        )


def find_section(payload: ObjectFile, name: str, stage: Stage, findings: Findings) -> Section | None:
    """Return the first section of a name, as Xen searches for it.

    Xen compares names in the upload buffer, in the order of the section table (xen/common/livepatch_elf.c:
    livepatch_elf_sec_by_name).
    """
    if payload.has_unterminated_names:
        _check_search(payload, name, stage, findings)
    return payload.by_name.get(name)


def may_find(payload: ObjectFile, names: Iterable[str]) -> bool:
    """Tell whether looking for these sections may find any, or go wrong."""
    return payload.has_unterminated_names or not payload.by_name.keys().isdisjoint(names)


def _check_search(payload: ObjectFile, name: str, stage: Stage, findings: Findings) -> None:
    broken = payload.name_that_runs_off(name)
    if broken is not None:
        findings.add(
            UPLOAD_OVERRUN,
            f"the name of section {broken.index} runs on into unmapped memory, and Xen follows it when it looks for "
            f"{name}",
            stage=stage,
            index=broken.index,
        )


def refuse_overrun(section: Section, findings: Findings) -> None:
    """Say that Xen reads a section where the upload buffer is not mapped any more."""
    findings.add(
        UPLOAD_OVERRUN,
        f"{section.text_name} lacks SHF_ALLOC, so Xen reads it in the upload buffer; its {section.size:#x} bytes at "
        f"{section.offset:#x} are not all in the buffer's pages",
        stage="prepare",
        section=section.text_name,
        index=section.index,
    )


def check_special_sections(payload: ObjectFile, findings: Findings) -> None:
    """Test that the sections every payload needs are there and not empty."""
    for name in findings.release.required_sections:
        section = find_section(payload, name, "special-sections", findings)
        if section is None:
            findings.add(rules.SECTION_MISSING, f"there is no section {name}", words={"name": name})
        elif section.size == 0:
            findings.add(
                rules.SECTION_EMPTY, f"section {name} is empty", words={"name": name}, section=name, index=section.index
            )


def check_patching_sections(payload: ObjectFile, findings: Findings) -> None:
    """Test that the payload patches or hooks something (4.14 and later)."""
    names = findings.release.patching_sections
    found = False
    for name in names:
        section = find_section(payload, name, "patching-sections", findings)
        found = found or section is not None
        if section is not None and section.size == 0:
            findings.add(
                rules.PATCHING_SECTION_EMPTY,
                f"section {section.text_name} is empty",
                words={"name": section.name},
                section=section.text_name,
                index=section.index,
            )
    if names and not found:
        findings.add(
            rules.NOTHING_TO_PATCH,
            "there is neither a function table (.livepatch.funcs) nor a hook (.livepatch.hooks.*)",
        )
