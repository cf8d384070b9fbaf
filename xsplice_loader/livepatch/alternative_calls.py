"""Alternative calls, `.alt_call_sites`: indirect calls that Xen makes direct while it loads (`spec/04 §5.2`).

An entry is one signed 32-bit distance, from its own place to the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.alternatives_table import MAX_FINDINGS, as_printed
from xsplice_loader.livepatch.direct_calls import (
    CAPTURE_HINT,
    INDIRECT_CALL,
    INDIRECT_SIZE,
    UnknownTargetError,
    direct_target,
    displacement_bytes,
    leave_rest_unknown,
    leave_unknown,
    pointer_of,
    wraps,
)
from xsplice_loader.livepatch.loaded import UnknownContentsError
from xsplice_loader.livepatch.moved_branches import MovedBranch
from xsplice_loader.memory.address_space import ADDRESS_MASK, MemoryFault
from xsplice_loader.relocation.window import Limit
from xsplice_loader.rules import tables as rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.loaded import LoadedSections, RunningXen
    from xsplice_loader.payload import Section
    from xsplice_loader.rules import Rule

SECTION = ".alt_call_sites"
ENTRY_SIZE = 4
# A prefix without meaning before the call fills the sixth byte.
DIRECT_CALL = b"\x2e\xe8"
NO_TARGET = b"\x0f\x0b" * 3


def apply_alternative_calls(section: Section, sections: LoadedSections, xen: RunningXen, findings: Findings) -> None:
    """Test the table, a whole number of entries, and carry it out."""
    if not section.size:
        return
    text = sections.placement.regions[0]
    if not text.size:
        findings.add(
            rules.CALLS_WITHOUT_TEXT,
            f"there is a section {SECTION}, but the payload has no text with calls",
            section=SECTION,
            index=section.index,
        )
        return
    if section.index not in sections.placement.addresses:
        if not section.is_allocated:
            findings.add(
                rules.TABLE_IN_UPLOAD,
                f"{SECTION} lacks SHF_ALLOC: Xen reads it where the file was uploaded to, from where no entry leads "
                "to the payload's text",
                section=SECTION,
                index=section.index,
            )
        return
    before = len(findings)
    _check_sites(section, sections, findings)
    if not findings.errors_since(before):
        _make_all_direct(section, sections, xen, findings)


def _check_sites(section: Section, sections: LoadedSections, findings: Findings) -> None:
    """Test that every call is in the payload's text."""
    text = sections.placement.regions[0]
    before = len(findings)
    for index, site in _sites(section, sections):
        if not text.address <= site <= site + INDIRECT_SIZE <= text.address + text.size:
            _add(
                rules.CALL_OUTSIDE_TEXT,
                index,
                f"a call of {INDIRECT_SIZE} bytes at {site:#018x}, but the payload's text is "
                f"{text.address:#018x}-{text.address + text.size:#018x}",
                findings,
                address=site,
                size=as_printed(INDIRECT_SIZE),
                start=text.address,
                length=as_printed(text.size),
            )
        if len(findings) - before > MAX_FINDINGS:
            return


def _make_all_direct(section: Section, sections: LoadedSections, xen: RunningXen, findings: Findings) -> None:
    before = len(findings)
    for index, site in _sites(section, sections):
        # What a refused relocation left at a site means nothing.
        if sections.has_refused_field(site, INDIRECT_SIZE):
            continue
        where = _in_function(site, sections)
        try:
            _make_direct(index, site, sections, xen, findings)
        except MemoryFault as fault:
            _add(rules.WILD_ALTERNATIVE, index, f"a call{where} that leads to {fault}", findings)
        except UnknownTargetError as unknown:
            limit = Limit("alternative call", SECTION, index, "")
            what = leave_unknown(limit, site, INDIRECT_SIZE, site + INDIRECT_SIZE, unknown, sections, xen)
            _add(rules.CONTENTS_UNKNOWN, index, f"a call{where} that {what}", findings, hint=CAPTURE_HINT)
        if len(findings) - before > MAX_FINDINGS:
            what = leave_rest_unknown(Limit("alternative call", SECTION, index, ""), sections, xen)
            _add(rules.CONTENTS_UNKNOWN, index, f"the last call that is made direct here: {what}", findings)
            return


def _sites(section: Section, sections: LoadedSections) -> Iterator[tuple[int, int]]:
    start = sections.placement.addresses[section.index]
    table = sections.contents(section) or b""
    skipped = sections.meaningless(section, ENTRY_SIZE)
    for index in range(section.size // ENTRY_SIZE):
        if index not in skipped:
            place = index * ENTRY_SIZE
            distance = int.from_bytes(table[place : place + ENTRY_SIZE], "little", signed=True)
            yield index, (start + place + distance) & ADDRESS_MASK


def _make_direct(index: int, site: int, sections: LoadedSections, xen: RunningXen, findings: Findings) -> None:
    try:
        call = xen.read(site, INDIRECT_SIZE)
    except UnknownContentsError as unknown:
        raise UnknownTargetError(f"depends on memory that is unknown: {unknown}") from None
    if not call.startswith(INDIRECT_CALL):
        found = call.hex(" ")
        what = f"the bytes {found}, which are no call through a pointer"
        _add(rules.NO_INDIRECT_CALL, index, what, findings, site=xen.symbolic(site), bytes=found)
        return
    target = pointer_of(call, site, xen)
    if not target:
        sections.write_at(site, NO_TARGET)
        return
    target = direct_target(target, site, SECTION, xen, findings)
    displacement = target - (site + INDIRECT_SIZE)
    if wraps(displacement):
        _add(rules.BRANCH_WRAPS, index, f"a call whose displacement {displacement:#x} does not fit: it wraps", findings)
    limit = Limit("alternative call", SECTION, index, "")
    sections.branches.append(MovedBranch(limit, site + INDIRECT_SIZE, target))
    sections.write_at(site, DIRECT_CALL + displacement_bytes(displacement))


def _in_function(site: int, sections: LoadedSections) -> str:
    function = sections.function_at(site)
    return "" if function is None else f" in {function}"


def _add(rule: Rule, index: int, what: str, findings: Findings, hint: str | None = None, **words: int | str) -> None:
    findings.add(
        rule,
        f"alternative call {index} names {what}",
        words=words,
        section=SECTION,
        index=index,
        offset=index * ENTRY_SIZE,
        hint=hint,
    )
