"""What lies at an address, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.payload import text_of
from xsplice_loader.relocation.diagnosis import AREA_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.host_state import LoadedPayload
    from xsplice_loader.hypervisor import Hypervisor
    from xsplice_loader.memory.placement import Placement


def hexadecimal(address: int) -> str:
    """Return an address as it is written everywhere: 16 hex digits."""
    return f"{address:#018x}"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 page`, `1,024 pages`."""
    return f"{count:,} {one if count == 1 else many if many is not None else one + 's'}"


def what_lies_at(
    address: int, hypervisor: Hypervisor, loaded: Sequence[LoadedPayload], own: Placement | None = None
) -> str:
    """Return what lies at an address: a symbol of Xen's, a section of a payload, or the area that it is in."""
    if own is not None and (inside := _in_placement(address, own)) is not None:
        return f"this payload's {inside}"
    for other in loaded:
        if (inside := _in_placement(address, other.placement)) is not None:
            return f"{inside} of the payload {other.shown_name}"
    area = hypervisor.areas.area_of(address)
    if area is None:
        return "nothing that Xen uses: the address belongs to none of its areas"
    if area.name != "xen":
        return AREA_TEXT.get(area.name, f"the {area.name}")
    symbol = hypervisor.symbols.symbol_at(address)
    if symbol is None:
        return AREA_TEXT["xen"]
    name, offset = symbol
    behind = f", {count_text(offset, 'byte')} behind its start" if offset else ""
    return f"{AREA_TEXT['xen']}, in {text_of(name)}{behind}"


def _in_placement(address: int, placement: Placement) -> str | None:
    if not placement.base <= address < placement.end:
        return None
    for section in placement.sections:
        if section.address <= address < section.address + section.size:
            offset = f"+{address - section.address:#x}" if address > section.address else ""
            return f"section {section.name}{offset}"
    return "pages, between its sections"
