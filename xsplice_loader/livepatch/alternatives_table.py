"""The table of alternatives, `.altinstructions`: its entries, and what they may refer to (`spec/01 §14.7`)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.livepatch.sections import refuse_overrun
from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.rules import content
from xsplice_loader.rules import tables as rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.findings import Findings
    from xsplice_loader.livepatch.loaded import LoadedSections
    from xsplice_loader.payload import Section
    from xsplice_loader.rules import Rule

SECTION = ".altinstructions"
REPLACEMENTS = ".altinstr_replacement"
MAX_FINDINGS = 1000
"""Findings on one table, after which no further entries are looked at."""

# Distances to site and replacement, feature, lengths of site and replacement; from 4.11 on also of padding, and `priv`.
_LAYOUTS = {12: Struct("<iiHBB"), 14: Struct("<iiHBBBB")}
_REPLACEMENT_FIELD = 4
_PRIV_FIELD = 13


class Alternative(NamedTuple):
    """One entry, as it stands in memory."""

    number: int
    address: int
    site: int
    replacement: int
    feature: int
    orig_len: int
    repl_len: int
    pad_len: int = 0
    priv: int = 0

    @property
    def total(self) -> int:
        """Bytes of the site with its padding."""
        return self.orig_len + self.pad_len


class AlternativesTable:
    """One payload's table, which has been relocated and is a whole number of entries."""

    def __init__(self, section: Section, sections: LoadedSections, findings: Findings) -> None:
        self.section = section
        self.sections = sections
        self.findings = findings
        self.release = findings.release
        self.address = sections.placement.addresses.get(section.index, 0)
        self._layout = _LAYOUTS[self.release.alternatives_entry_size]
        self._meaningless = sections.meaningless(section, self._layout.size)
        self._before = len(findings)

    @property
    def has_padding(self) -> bool:
        """Whether entries tell the length of padding, and remember what became of them."""
        return self._layout.size > _PRIV_FIELD

    @property
    def has_too_many_findings(self) -> bool:
        """Whether it is not worth while to look further."""
        return len(self.findings) - self._before > MAX_FINDINGS

    def entries(self) -> Iterator[Alternative]:
        """Read one entry after the other, each when its turn comes: those before may have overwritten it.

        Entries with a field whose relocation was refused are left out.
        """
        for number in range(self.section.size // self._layout.size):
            if number not in self._meaningless:
                yield self.entry(number)

    def entry(self, number: int) -> Alternative:
        """Return an entry as it stands in memory now."""
        address = self.address + number * self._layout.size
        start = address - self.sections.placement.base
        fields = self._layout.unpack(self.sections.image[start : start + self._layout.size].tobytes())
        return Alternative(
            number,
            address,
            (address + fields[0]) & ADDRESS_MASK,
            (address + _REPLACEMENT_FIELD + fields[1]) & ADDRESS_MASK,
            *fields[2:],
        )

    def mark(self, entry: Alternative) -> None:
        """Note in an entry that it, or its run, was dealt with."""
        self.sections.write_at(entry.address + _PRIV_FIELD, b"\x01")

    def is_readable(self) -> bool:
        """Tell whether the table was loaded, or has nothing that Xen would read."""
        if self.section.index in self.sections.placement.addresses or not self.section.size:
            return True
        if not self.section.is_allocated:
            self.findings.add(
                content.TABLE_NOT_LOADED,
                f"{SECTION} lacks SHF_ALLOC, so it was not loaded; Xen would use it through a NULL pointer",
                section=SECTION,
                index=self.section.index,
            )
        return False

    def check_bounds(self) -> None:
        """Test what the table refers to, in releases that do (SET-E)."""
        if not self.sections.placement.regions[0].size:
            self.findings.add(
                rules.ALTERNATIVES_WITHOUT_TEXT,
                f"there is a section {SECTION}, but the payload has no text that could be altered",
                section=SECTION,
                index=self.section.index,
            )
            return
        replacements = self.sections.payload.section_named(REPLACEMENTS)
        if replacements is None:
            self.findings.add(
                rules.ALTERNATIVES_WITHOUT_REPLACEMENTS,
                f"there is a section {SECTION}, but no {REPLACEMENTS}",
                section=SECTION,
                index=self.section.index,
            )
        elif self.section.index in self.sections.placement.addresses:
            self._check_entries(replacements)
        elif self.release.passes_note_errors and not self.section.is_allocated:
            if len(self.sections.payload.uploaded(self.section)) < self._layout.size:
                refuse_overrun(self.section, self.findings)
                return
            self.findings.add(
                rules.TABLE_IN_UPLOAD,
                f"{SECTION} lacks SHF_ALLOC: Xen reads it where the file was uploaded to, from where no entry leads "
                "to the payload's text",
                section=SECTION,
                index=self.section.index,
            )

    def _check_entries(self, replacements: Section) -> None:
        text = self.sections.placement.regions[0]
        start = self.sections.placement.addresses.get(replacements.index)
        if start is None and not self.release.passes_note_errors:
            start = 0
        for entry in self.entries():
            if not _is_within(entry.site, entry.orig_len, text.address, text.size):
                self.add(
                    rules.SITE_OUTSIDE_TEXT,
                    entry,
                    f"is for the {entry.orig_len} bytes at {entry.site:#018x}, but the payload's text is "
                    f"{text.address:#018x}-{text.address + text.size:#018x}",
                    address=entry.site,
                    size=as_printed(entry.orig_len),
                    start=text.address,
                    length=as_printed(text.size),
                )
            elif start is None:
                self.add(
                    rules.TABLE_IN_UPLOAD,
                    entry,
                    f"does not lead to where Xen takes {REPLACEMENTS} to be, which lacks SHF_ALLOC: to where the file "
                    "was uploaded",
                )
            elif not _is_within(entry.replacement, entry.repl_len, start, replacements.size):
                self.add(
                    rules.REPLACEMENT_OUTSIDE_SECTION,
                    entry,
                    f"takes the {entry.repl_len} bytes at {entry.replacement:#018x}, but {REPLACEMENTS} is "
                    f"{start:#018x}-{start + replacements.size:#018x}",
                    address=entry.replacement,
                    size=as_printed(entry.repl_len),
                    start=start,
                    length=as_printed(replacements.size),
                )
            if self.has_too_many_findings:
                return

    def add(self, rule: Rule, entry: Alternative, what: str, hint: str | None = None, **words: int | str) -> None:
        """Record that an entry broke a rule; `what` is the sentence without its subject."""
        self.findings.add(
            rule,
            f"alternative {entry.number} {what}",
            words=words,
            section=SECTION,
            index=entry.number,
            offset=entry.number * self._layout.size,
            hint=hint,
        )


def as_printed(number: int) -> str:
    """Return a size as Xen prints it: hexadecimal, 0 without a prefix."""
    return f"{number:#x}" if number else "0"


def _is_within(address: int, size: int, start: int, length: int) -> bool:
    return start <= address and address + size <= start + length
