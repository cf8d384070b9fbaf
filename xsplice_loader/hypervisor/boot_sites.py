"""Sites in Xen's text that Xen patches when it boots, by the processor and by what its pointers hold by then.

Two tables in init data name them: the alternatives, and from 4.21.0 on the alternative calls
(xen/arch/x86/alternative.c: alternative_instructions, alternative_branches, boot_apply_alt_calls). What the sites hold
afterwards is in no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsplice_loader.releases import Release

CALL_SIZE = 6
"""Bytes of an indirect call that boot makes direct."""
_FIELDS = [("site", "<i4"), ("replacement", "<i4"), ("feature", "<u2"), ("length", "u1"), ("replacement_length", "u1")]
_PADDING = [("padding", "u1"), ("private", "u1")]
_CALL = [("site", "<i4")]


class BootSites(NamedTuple):
    """The sites in ascending order of their starts: half-open address ranges, as uint64 columns."""

    starts: np.ndarray
    ends: np.ndarray


def boot_sites(
    read: Callable[[int, int], bytes | None], address_of: Callable[[bytes], int | None], release: Release
) -> BootSites | None:
    """Return the sites that a hypervisor's file names; None where the file cannot tell.

    Args:
        read: returns bytes of the image as it starts, None for those that the file does not hold.
        address_of: returns a symbol's address.
        release: the release that the image is.
    """
    has_padding = release.alternatives_entry_size > 12
    tables = [(b"__alt_instructions", b"__alt_instructions_end", _FIELDS + _PADDING if has_padding else _FIELDS)]
    if release.has_alternative_calls:
        tables.append((b"__alt_call_sites_start", b"__alt_call_sites_end", _CALL))
    starts, ends = [], []
    for first, last, fields in tables:
        start, end = address_of(first), address_of(last)
        if start is None or end is None or end < start:
            return None
        layout = np.dtype(fields)
        count = (end - start) // layout.itemsize
        contents = read(start, count * layout.itemsize)
        if contents is None:
            return None
        table = np.frombuffer(contents, layout)
        entries = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(layout.itemsize)
        sites = entries + table["site"].astype(np.int64).astype(np.uint64)
        starts.append(sites)
        ends.append(sites + _sizes(table))
    order = np.argsort(np.concatenate(starts), kind="stable")
    return BootSites(np.concatenate(starts)[order], np.concatenate(ends)[order])


def _sizes(table: np.ndarray) -> np.ndarray:
    names = table.dtype.names or ()
    if "length" not in names:
        return np.full(len(table), CALL_SIZE, np.uint64)
    sizes: np.ndarray = table["length"].astype(np.uint64)
    return sizes + table["padding"] if "padding" in names else sizes
