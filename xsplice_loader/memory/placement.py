"""Where each section of a payload goes (`spec/02 §1` to `§3`).

Sections are sorted by their flags into three regions, text, rw and ro, which follow one another in memory in
this order, each from a page boundary on. Within a region they keep the order of the section table. The whole
is one allocation: one range of addresses, one guard page.

All arithmetic is that of Xen, 64 bits wide and unsigned; it shows with `sh_addralign` 0, for which rounding up
yields 0, and with sizes near 2^64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple
from weakref import WeakKeyDictionary

from xsplice_loader.memory.address_space import ADDRESS_MASK
from xsplice_loader.releases import PAGE_SIZE, Release
from xsplice_loader.results import PlacedSection, Region
from xsplice_loader.rules import placing as rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.findings import Findings
    from xsplice_loader.payload import ObjectFile, Section

RegionName = Literal["text", "rw", "ro"]
REGION_OF_FLAGS: Mapping[tuple[bool, bool], RegionName | None] = {
    # (executable, writable)
    (True, False): "text",
    (False, True): "rw",
    (False, False): "ro",
    (True, True): None,
}
PERMISSIONS: Mapping[RegionName, Literal["r-x", "rw-", "r--"]] = {"text": "r-x", "rw": "rw-", "ro": "r--"}
ORDER: tuple[RegionName, RegionName, RegionName] = ("text", "rw", "ro")


class Place(NamedTuple):
    """Where a section goes, whatever the base."""

    index: int  # type: ignore[assignment]  # a section's number has no other name, and nobody looks for values in it
    name: str
    region: RegionName
    start: int
    """Bytes from the base, modulo 2^64."""
    size: int


class Layout(NamedTuple):
    """What goes where, before any address is known."""

    places: tuple[Place, ...]
    """Where each section goes, in the order of the section table; ignored sections are absent."""
    sizes: dict[RegionName, int]
    """Bytes of each region."""
    pages: int
    """Whole pages for all of it."""
    writable: tuple[Section, ...]
    """The placed rw sections, for the question whether the payload may be applied again."""
    starts: dict[RegionName, int]
    """Where each region begins, in bytes from the base."""


class Placement(NamedTuple):
    """Addresses for everything that is loaded."""

    regions: tuple[Region, Region, Region]
    pages: int
    addresses: dict[int, int]
    """Section index to address; ignored sections are absent."""
    places: tuple[Place, ...]

    @property
    def sections(self) -> tuple[PlacedSection, ...]:
        """The placed sections, in the order of the section table."""
        return tuple(
            PlacedSection(index, name, region, self.addresses[index], size)
            for index, name, region, _, size in self.places
        )

    @property
    def base(self) -> int:
        """The address of the text region, where the one allocation begins."""
        return self.regions[0].address

    @property
    def end(self) -> int:
        """The end of the last page."""
        return self.base + self.pages * PAGE_SIZE


def is_ignored(section: Section, release: Release) -> bool:
    """Tell whether Xen gives a section no address (`spec/02 §1`)."""
    return not section.is_allocated or (release.ignores_empty_sections and section.size == 0)


def is_refused(section: Section, release: Release) -> bool:
    """Tell whether Xen refuses to place a section: it is both writable and executable, and not ignored."""
    return section.is_writable and section.is_executable and not is_ignored(section, release)


_known: WeakKeyDictionary[ObjectFile, dict[bool, Layout]] = WeakKeyDictionary()
"""Layouts in which nothing was found, by whether empty sections are ignored."""


def lay_out(payload: ObjectFile, findings: Findings) -> Layout:
    """Give each section its region and its offset in it. Sections both writable and executable get none."""
    known = _known.setdefault(payload, {})
    ignores = findings.release.ignores_empty_sections
    if ignores in known:
        return known[ignores]
    before = len(findings)
    layout = _lay_out(payload, findings)
    if len(findings) == before:
        known[ignores] = layout
    return layout


def _lay_out(payload: ObjectFile, findings: Findings) -> Layout:
    places: list[Place] = []
    sizes: dict[RegionName, int] = dict.fromkeys(ORDER, 0)
    writable = []
    for section in payload.sections:
        if is_ignored(section, findings.release):
            continue
        region = REGION_OF_FLAGS[section.is_executable, section.is_writable]
        if region is None:
            findings.add(
                rules.WRITABLE_AND_EXECUTABLE,
                f"section {section.text_name} is both writable and executable",
                section=section.text_name,
                index=section.index,
            )
            continue
        alignment = section.alignment
        if alignment == 0 and sizes[region]:
            findings.add(
                rules.ALIGNMENT_ZERO,
                f"section {section.text_name} has sh_addralign 0, so it lands at the start of the {region} region, "
                f"on top of {sizes[region]:#x} bytes placed before it",
                section=section.text_name,
                index=section.index,
            )
        elif alignment > PAGE_SIZE:
            findings.add(
                rules.ALIGNMENT_BEYOND_PAGE,
                f"section {section.text_name} wants an alignment of {alignment:#x}, but regions start at page "
                "boundaries, so its address need not be a multiple of that",
                section=section.text_name,
                index=section.index,
            )
        offset = (sizes[region] + alignment - 1) & ~(alignment - 1) & ADDRESS_MASK
        sizes[region] = (offset + section.size) & ADDRESS_MASK
        # Xen keeps the offset in 32 bits; sizes are kept whole (spec/02 §3).
        places.append(Place(section.index, section.text_name, region, offset & 0xFFFF_FFFF, section.size))
        if region == "rw":
            writable.append(section)
    total = (_page_align(sizes["text"]) + _page_align(sizes["rw"]) + sizes["ro"]) & ADDRESS_MASK
    starts = _region_starts(sizes)
    moved = tuple(row._replace(start=(starts[row.region] + row.start) & ADDRESS_MASK) for row in places)
    return Layout(moved, sizes, -(-total // PAGE_SIZE), tuple(writable), starts)


def place(layout: Layout, base: int) -> Placement:
    """Turn distances into addresses, the text region starting at `base`."""
    starts, sizes = layout.starts, layout.sizes
    text, rw, ro = [
        Region(name, (base + starts[name]) & ADDRESS_MASK, sizes[name], PERMISSIONS[name]) for name in ORDER
    ]
    addresses = {index: (base + start) & ADDRESS_MASK for index, _, _, start, _ in layout.places}
    return Placement((text, rw, ro), layout.pages, addresses, layout.places)


def _region_starts(sizes: Mapping[RegionName, int]) -> dict[RegionName, int]:
    starts, address = {}, 0
    for name in ORDER:
        starts[name] = address
        address = (address + _page_align(sizes[name])) & ADDRESS_MASK
    return starts


def may_be_reapplied(layout: Layout, release: Release) -> bool:
    """Tell whether a reverted payload may be applied again (`spec/02 §4`)."""
    with_content = [section for section in layout.writable if section.size]
    counted = with_content if release.reapply_rule == "none or one with content" else layout.writable
    only_functions = len(counted) == 1 and counted[0].name == b".livepatch.funcs"
    return {
        "always": True,
        "exactly one": only_functions,
        "none or one": only_functions or not counted,
        "none or one with content": only_functions or not counted,
    }[release.reapply_rule]


def _page_align(size: int) -> int:
    return (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1) & ADDRESS_MASK
