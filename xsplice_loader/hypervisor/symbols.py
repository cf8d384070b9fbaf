"""Xen's symbols: from name to address, from address to name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

_CLOSENESS = 0.7
"""How alike a name must be for a hint, by difflib's ratio."""


class ListedSymbol(NamedTuple):
    """A symbol as `nm` lists it; `type` is the nm letter, lower case for local ones."""

    name: bytes
    address: int
    type: str
    typed: bool = True
    """Whether its ELF type is something else than NOTYPE."""


class SymbolTable:
    """The symbols that Xen knows, in the order of its embedded table (`spec/03 §7.3`).

    Attributes:
        addresses: of each symbol, ascending, uint64.
        names: of each symbol, as payloads name it: `file#name` for local ones.
        types: nm letters, one character for each symbol.

    """

    __slots__ = ("_address_by_name", "_ends", "_order", "addresses", "names", "types")

    def __init__(
        self,
        addresses: npt.NDArray[np.uint64],
        names: list[bytes],
        types: str,
        *,
        order: npt.NDArray[np.intp] | None,
        ends: npt.NDArray[np.uint64] | None = None,
    ) -> None:
        """Make a table of columns of equal length.

        Args:
            addresses: ascending.
            names: in the order of `addresses`.
            types: in the order of `addresses`.
            order: positions in `names` sorted by name, which Xen bisects; None where Xen scans linearly.
            ends: addresses, ascending, at which the symbol before ends and none begins.

        """
        self.addresses = addresses
        self.names = names
        self.types = types
        self._order = order
        self._ends = ends
        self._address_by_name: dict[bytes, int] | None = None

    @classmethod
    def of_listed(cls, listed: Iterable[ListedSymbol]) -> SymbolTable:
        """Sort symbols as Xen's build does: addresses as in `spec/03 §7.3`, names as in `§7.4`."""
        symbols = sorted(listed, key=lambda s: (s.address, not s.typed, s.type.islower()))
        order = sorted(range(len(symbols)), key=lambda i: (symbols[i].name, symbols[i].type))
        return cls(
            np.array([symbol.address for symbol in symbols], np.uint64),
            [symbol.name for symbol in symbols],
            "".join(symbol.type for symbol in symbols),
            order=np.array(order, np.intp),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self.address_of(name) is not None

    def __iter__(self) -> Iterator[tuple[bytes, int, str]]:
        return zip(self.names, self.addresses.tolist(), self.types, strict=True)

    def address_of(self, name: bytes) -> int | None:
        """Return what Xen's lookup gives for a name; None if not found or at address 0 (`spec/03 §1.1`)."""
        return self.finder(name)

    @property
    def finder(self) -> Callable[[bytes], int | None]:
        """The same look-up, as a function for many of them."""
        if self._address_by_name is None:
            self._address_by_name = self._index()
        return self._address_by_name.get

    def symbol_at(self, address: int) -> tuple[bytes, int] | None:
        """Return the symbol that `address` lies in, and how many bytes behind its start.

        It is the last one that starts at or before `address`, of several aliases the first (`spec/03 §7.3`).
        None before the first symbol, and behind an END entry until the next symbol starts.
        """
        index = int(np.searchsorted(self.addresses, np.uint64(address), side="right")) - 1
        if index < 0:
            return None
        start = int(self.addresses[index])
        if self._ends is not None:
            end = int(np.searchsorted(self._ends, np.uint64(address), side="right")) - 1
            if end >= 0 and int(self._ends[end]) > start:
                return None
        first = int(np.searchsorted(self.addresses, np.uint64(start), side="left"))
        return self.names[first], address - start

    def names_like(self, name: bytes, limit: int = 3) -> list[bytes]:
        """Return up to `limit` names that may have been meant.

        First those that are the same but for the file (`file#name`), then names that look alike.
        """
        plain = name.rpartition(b"#")[2]
        if not plain:
            return []
        suffix = b"#" + plain
        same = [known for known in self.names if (known.endswith(suffix) or known == plain) and known != name]
        found = list(dict.fromkeys(same))[:limit]
        if len(found) < limit:
            found += [known for known in self._alike(name) if known not in found]
        return found[:limit]

    def _alike(self, name: bytes) -> list[bytes]:
        import difflib  # noqa: PLC0415  (only wanted for a hint)

        def text(known: bytes) -> str:
            return known.decode("latin-1") if b"#" in name else known.rpartition(b"#")[2].decode("latin-1")

        by_text: dict[str, list[bytes]] = {}
        for known in self.names:
            if known != name:
                by_text.setdefault(text(known), []).append(known)
        close = difflib.get_close_matches(name.decode("latin-1"), by_text, n=3, cutoff=_CLOSENESS)
        return [known for match in close for known in by_text[match]]

    def _index(self) -> dict[bytes, int]:
        addresses: Sequence[int] = self.addresses.tolist()
        # Filled backwards: of equal names the lowest address stays, as a linear scan finds it.
        index = dict(zip(reversed(self.names), reversed(addresses), strict=True))
        if self._order is not None and len(index) < len(self.names):
            order = self._order.tolist()
            for name in (name for name, count in Counter(self.names).items() if count > 1):
                index[name] = addresses[self._bisected(name, order)]
        if b"" not in index and self.addresses.all():
            return index
        return {name: address for name, address in index.items() if name and address}

    def _bisected(self, name: bytes, order: list[int]) -> int:
        """Replay Xen's bisection, which may hit any of several equal names (`spec/03 §1.1`)."""
        low, high = 0, len(order)
        while low < high:
            middle = low + (high - low) // 2
            found = self.names[order[middle]]
            if found == name:
                return order[middle]
            low, high = (low, middle) if name < found else (middle + 1, high)
        raise AssertionError("the order by name is sorted")
