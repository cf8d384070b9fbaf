"""Special sections that must be there, and the early look at whom the payload is for (`spec/01 §8`, `§12`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.notes import BrokenNote, parse_build_id
from xsplice_loader.rules import content as rules
from xsplice_loader.rules.errnos import ERRNOS

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings
    from xsplice_loader.payload import ObjectFile

XEN_DEPENDS = ".livepatch.xen_depends"
PRINTED_ID = 64
"""Bytes of a build-id that Xen prints at most (`spec/07 15`)."""


def check_xen_build_id_early(
    payload: ObjectFile, xen_build_id: bytes | None, *, compare: bool, findings: Findings
) -> None:
    """Compare the build-id in the file's `.livepatch.xen_depends` with the hypervisor's (SET-D).

    `compare` is false where the hypervisor's is not known; then only the form is tested.
    """
    section = payload.section_named(XEN_DEPENDS)
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
        findings.add(
            rules.XEN_DEPENDS_MALFORMED,
            f"{XEN_DEPENDS} is no build-id note: {parsed.reason}",
            words={"name": XEN_DEPENDS, "code": -ERRNOS[parsed.errno]},
            section=XEN_DEPENDS,
            index=section.index,
        )
    elif not compare:
        return
    elif xen_build_id is None:
        findings.add(
            rules.XEN_WITHOUT_BUILD_ID,
            "the hypervisor has no build-id to compare with",
            words={"code": -ERRNOS["ENODATA"]},
        )
    elif parsed.contents != xen_build_id:
        findings.add(
            rules.OTHER_XEN,
            f"the payload is for the Xen with build-id {parsed.contents.hex()}, but this one has {xen_build_id.hex()}",
            words={"payload": parsed.contents[:PRINTED_ID].hex(), "xen": xen_build_id[:PRINTED_ID].hex()},
            section=XEN_DEPENDS,
            index=section.index,
        )


def check_special_sections(payload: ObjectFile, findings: Findings) -> None:
    """Test that the sections every payload needs are there and not empty."""
    for name in findings.release.required_sections:
        section = payload.section_named(name)
        if section is None:
            findings.add(rules.SECTION_MISSING, f"there is no section {name}", words={"name": name})
        elif section.size == 0:
            findings.add(
                rules.SECTION_EMPTY, f"section {name} is empty", words={"name": name}, section=name, index=section.index
            )


def check_patching_sections(payload: ObjectFile, findings: Findings) -> None:
    """Test that the payload patches or hooks something (4.14 and later)."""
    names = findings.release.patching_sections
    found = [section for section in map(payload.section_named, names) if section is not None]
    for section in found:
        if section.size == 0:
            findings.add(
                rules.PATCHING_SECTION_EMPTY,
                f"section {section.text_name} is empty",
                words={"name": section.text_name},
                section=section.text_name,
                index=section.index,
            )
    if names and not found:
        findings.add(
            rules.NOTHING_TO_PATCH,
            "there is neither a function table (.livepatch.funcs) nor a hook (.livepatch.hooks.*)",
        )
