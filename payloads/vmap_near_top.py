"""A vmap callback of one's own: hand out addresses from the top of Xen's gigabyte downwards.

    cd payloads && xsplice-load --vmap vmap_near_top:from_the_top ../build/payloads/hello.livepatch

The shape is that of 2016's `vmap_cb_t`: the callback gets the machine frames and their number and answers with a
page address, or with None where it has none. It only chooses; the loader maps. Every address is within 1 GiB of
Xen's text, so no displacement overflows: the payload is accepted, far away from where Xen would have put it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_SIZE = 4096
TOP = 0xFFFF82D07FE00000

_next_end = TOP


def from_the_top(mfns: Sequence[int], pages: int) -> int | None:
    """Return the address below the last one given out, with a guard page between them."""
    global _next_end  # noqa: PLW0603 - a callback has nowhere else to remember
    del mfns
    address = _next_end - pages * PAGE_SIZE
    _next_end = address - PAGE_SIZE
    return address
