"""Addresses chosen by somebody else: a function of the user's, or the user himself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.vmap.protocol import VmapCallback


class CallbackVmap:
    """Asks a callback of the shape of 2016's `vmap_cb_t`, and keeps a list of `(address, pages)` beside it."""

    def __init__(self, callback: VmapCallback) -> None:
        self._callback = callback
        self._records: list[tuple[int, int]] = []
        self.probes = 0

    def copy(self) -> CallbackVmap:
        """Return a design that asks the same callback; what the callback itself remembers cannot be copied."""
        twin = CallbackVmap(self._callback)
        twin._records = list(self._records)
        return twin

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return what the callback answers."""
        address = self._callback(mfns, len(mfns))
        if address is not None:
            self._records.insert(0, (address, len(mfns)))
        return address

    def release(self, address: int) -> None:
        """Forget an address. A callback is not told: the draft of 2016 dropped that half (`spec/05 §1`)."""
        index = self._find(address)
        if index is not None:
            del self._records[index]

    def size(self, address: int) -> int:
        """Return the pages of the area that begins exactly at `address`; 0 where there is none."""
        index = self._find(address)
        return 0 if index is None else self._records[index][1]

    def owns(self, address: int) -> bool:
        """Tell whether an area begins exactly at `address`."""
        return self._find(address) is not None

    def _find(self, address: int) -> int | None:
        for index, (start, _) in enumerate(self._records):
            self.probes += 1
            if start == address:
                return index
        return None


class FixedVmap(CallbackVmap):
    """Answers every request with one address, for the question what would be if the payload stood there."""

    def __init__(self, address: int) -> None:
        super().__init__(lambda _mfns, _pages: address)
        self.address = address

    def copy(self) -> FixedVmap:
        """Return another that answers the same."""
        return FixedVmap(self.address)
