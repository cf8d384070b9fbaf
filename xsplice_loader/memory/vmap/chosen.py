"""Addresses chosen by somebody else: a function of the user's, or the user himself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.vmap.protocol import VmapCallback


class CallbackVmap:
    """Asks a callback of the shape of 2016's `vmap_cb_t` and keeps a list of what it answered."""

    def __init__(self, callback: VmapCallback) -> None:
        self._callback = callback
        self._areas: dict[int, int] = {}

    def copy(self) -> CallbackVmap:
        """Return a finder that asks the same callback; what the callback itself remembers cannot be copied."""
        twin = CallbackVmap(self._callback)
        twin._areas = dict(self._areas)
        return twin

    def vmalloc(self, mfns: Sequence[int]) -> int | None:
        """Return what the callback answers."""
        address = self._callback(mfns, len(mfns))
        if address is not None:
            self._areas[address] = len(mfns)
        return address

    def vfree(self, address: int) -> None:
        """Forget an address. A callback is not told: the draft of 2016 dropped that half (`spec/05 §1`)."""
        self._areas.pop(address, None)

    def size(self, address: int) -> int:
        """Return the pages of the area that begins exactly at `address`; 0 where there is none."""
        return self._areas.get(address, 0)

    def owns(self, address: int) -> bool:
        """Tell whether an area begins exactly at `address`."""
        return address in self._areas


class FixedVmap(CallbackVmap):
    """Answers every request with one address, for the question what would be if the payload stood there."""

    def __init__(self, address: int) -> None:
        super().__init__(lambda _mfns, _pages: address)
        self.address = address

    def copy(self) -> FixedVmap:
        """Return another that answers the same."""
        return FixedVmap(self.address)
