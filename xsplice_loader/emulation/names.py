"""What lies at an address: a function or variable of Xen's or of a payload's."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.payload import text_of

if TYPE_CHECKING:
    from xsplice_loader.host_state import HostState, LoadedPayload
    from xsplice_loader.livepatch.symbol_table import PayloadSymbol


_value_of = attrgetter("value")


class Place(NamedTuple):
    """What an address belongs to."""

    symbol: str | None
    """`name`, or `name+0x10` within it."""
    payload: str | None
    name: bytes | None
    start: int
    """The range of addresses of which the same can be said; of the address alone where nothing is known."""
    end: int
    size: int = 0
    """Bytes of the symbol, as Xen shows it: of its own up to the next one, of a payload's as the payload says."""


class Names:
    """Finds what lies at addresses of one host, as it is now."""

    def __init__(self, host: HostState) -> None:
        self._hypervisor = host.hypervisor
        self._payloads = tuple(host.payloads)
        self._symbols: dict[tuple[int, bool], list[PayloadSymbol]] = {}

    def place_of(self, address: int) -> Place:
        """Return what lies at an address, by the nearest symbol, as Xen names it; never fails."""
        return self._place(address, within_functions=True)

    def function_of(self, address: int) -> Place:
        """Return the same, but for labels within a payload's functions: these belong to the function."""
        return self._place(address, within_functions=False)

    def _place(self, address: int, *, within_functions: bool) -> Place:
        for loaded in self._payloads:
            if loaded.placement.base <= address < loaded.placement.end:
                return self._in_payload(loaded, address, within_functions=within_functions)
        if self._hypervisor.image_start <= address < self._hypervisor.image_end:
            return self._in_xen(address)
        return Place(None, None, None, address, address + 1)

    def symbol_at(self, address: int) -> str | None:
        """Return `name` or `name+0x10`; None where no symbol is near."""
        return self.place_of(address).symbol

    def described(self, address: int) -> str:
        """Return an address for people: its number, and the symbol where there is one."""
        place = self.place_of(address)
        if place.symbol is None:
            return f"{address:#018x}"
        return f"{address:#018x} ({place.symbol}{'' if place.payload is None else f' in {place.payload}'})"

    def _in_xen(self, address: int) -> Place:
        symbols = self._hypervisor.symbols
        found = symbols.symbol_at(address)
        following = int(symbols.addresses.searchsorted(np.uint64(address), side="right"))
        end = int(symbols.addresses[following]) if following < len(symbols) else self._hypervisor.image_end
        if found is None:
            return Place(None, None, None, address, end)
        name, offset = found
        start = address - offset
        return Place(_with_offset(name, offset), None, name, start, end, end - start)

    def _in_payload(self, loaded: LoadedPayload, address: int, *, within_functions: bool) -> Place:
        base, end = loaded.placement.base, loaded.placement.end
        key = base, within_functions
        if key not in self._symbols:
            symbols = sorted((found for found in loaded.symbols if base <= found.value < end), key=_value_of)
            self._symbols[key] = symbols if within_functions else _without_labels(symbols)
        symbols = self._symbols[key]
        following = bisect_right(symbols, address, key=_value_of)
        stop = symbols[following].value if following < len(symbols) else end
        if not following:
            return Place(None, loaded.shown_name, None, base, stop)
        # Of several symbols at one address the first.
        start = symbols[following - 1].value
        found = symbols[bisect_right(symbols, start - 1, key=_value_of)]
        symbol = _with_offset(found.name, address - start)
        return Place(symbol, loaded.shown_name, found.name, start, stop, found.size)


def _without_labels(symbols: list[PayloadSymbol]) -> list[PayloadSymbol]:
    """Leave out symbols without a size that stand within the bytes of another."""
    kept, end = [], 0
    for symbol in symbols:
        if symbol.size or symbol.value >= end:
            kept.append(symbol)
            end = max(end, symbol.value + symbol.size)
    return kept


def _with_offset(name: bytes, offset: int) -> str:
    return text_of(name) + (f"+{offset:#x}" if offset else "")
