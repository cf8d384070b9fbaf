"""What lies at an address: a function or variable of Xen's or of a payload's."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xsplice_loader.payload import text_of

if TYPE_CHECKING:
    from xsplice_loader.livepatch.symbol_table import PayloadSymbol
    from xsplice_loader.loading import HostState, LoadedPayload


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
        self._symbols: dict[int, list[PayloadSymbol]] = {}

    def place_of(self, address: int) -> Place:
        """Return what lies at an address; never fails."""
        for loaded in self._payloads:
            if loaded.placement.base <= address < loaded.placement.end:
                return self._in_payload(loaded, address)
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

    def _in_payload(self, loaded: LoadedPayload, address: int) -> Place:
        base, end = loaded.placement.base, loaded.placement.end
        if base not in self._symbols:
            self._symbols[base] = sorted(
                (symbol for symbol in loaded.symbols if base <= symbol.value < end), key=lambda symbol: symbol.value
            )
        symbols = self._symbols[base]
        following = bisect_right(symbols, address, key=lambda symbol: symbol.value)
        stop = symbols[following].value if following < len(symbols) else end
        if not following:
            return Place(None, loaded.shown_name, None, base, stop)
        # Of several symbols at one address the first.
        start = symbols[following - 1].value
        found = symbols[bisect_right(symbols, start - 1, key=lambda symbol: symbol.value)]
        symbol = _with_offset(found.name, address - start)
        return Place(symbol, loaded.shown_name, found.name, start, stop, found.size)


def _with_offset(name: bytes, offset: int) -> str:
    return text_of(name) + (f"+{offset:#x}" if offset else "")
