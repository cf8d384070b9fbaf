"""Every relocation of a load, one by one, for people who want to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.findings import Findings
from xsplice_loader.numbers import INT32, signed
from xsplice_loader.relocation.instructions import finder_in
from xsplice_loader.relocation.sections import relocation_sections
from xsplice_loader.relocation.types import TYPES, type_name
from xsplice_loader.results import Relocation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.releases import Release
    from xsplice_loader.relocation.trace import LoadTrace


def list_relocations(trace: LoadTrace, release: Release) -> Iterator[Relocation]:
    """Yield the relocations of a load in the order in which Xen meets them."""
    for group in relocation_sections(trace.payload, Findings(release)):
        target = group.target
        address = trace.placement.addresses.get(target.index)
        if address is None:
            continue
        start = address - trace.placement.base
        contents = trace.image[start : start + target.size]
        finder = finder_in(trace.payload, target.index, contents, address) if target.is_executable else None
        for row, entry in enumerate(group.entries):
            offset, number, index, addend = (int(entry[column]) for column in ("offset", "type", "symbol", "addend"))
            kind = TYPES.get(number)
            known = 0 < index < len(trace.payload.symbols)
            usable = known and bool(trace.symbols.usable[index])
            symbol = trace.payload.symbol_name(index) if known else f"symbol {index}"
            s = int(trace.symbols.values[index]) if usable else 0
            p = (address + offset) % (1 << 64)
            inside = kind is not None and offset + kind.width // 8 <= target.size
            applied = usable and inside and kind is not None and kind.applied
            value = None
            if kind is not None and usable and kind.applied and kind.width:
                value = signed(s + addend - p) if kind.is_relative else signed(s + addend)
                applied = applied and (not kind.is_relative or INT32[0] <= value < INT32[1])
            instruction = finder.find(offset, symbol) if finder is not None and inside else None
            yield Relocation(
                section=target.text_name,
                index=row,
                offset=offset,
                type=type_name(number),
                symbol=symbol,
                s=s,
                a=addend,
                p=p,
                value=value,
                applied=applied,
                instruction=instruction.text if instruction is not None else None,
            )
