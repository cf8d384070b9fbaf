"""Xen's memory at run time: which bytes of its image are known, and what its pages may be used for.

The file tells what the image was when it was linked. Boot then patches its own text (alternatives, alternative calls),
fills in variables, sorts exception tables and frees its init sections, so the file is right only about text outside
of those sites and about read-only data. A byte of anything else is *unknown* unless captured memory of the running
hypervisor supplies it; an unknown byte is never taken for what the file says.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.hypervisor.boot_sites import BootSites, boot_sites
from xsplice_loader.hypervisor.image_sections import ImageSection, image_sections
from xsplice_loader.memory.mapping import Protection
from xsplice_loader.memory.partly_known import PartlyKnown
from xsplice_loader.payload import text_of
from xsplice_loader.releases import ENDBR64_POISON, PAGE_SIZE, Permissions, Release

if TYPE_CHECKING:
    from xsplice_loader.hypervisor.captured import CapturedMemory
    from xsplice_loader.hypervisor.contents import Pieces
    from xsplice_loader.hypervisor.symbols import SymbolTable

_HYPERCALL_PAGE = b"hypercall_page"
"""A page of text that a hypervisor under this one fills in, where Xen runs as a guest."""


class RunTimeMemory:
    """The image of one running hypervisor, as far as it is known. Addresses are Xen's own; ranges are half open."""

    def __init__(
        self,
        pieces: Pieces,
        xen_virt_start: int,
        symbols: SymbolTable,
        release: Release,
        *,
        image: tuple[int, int],
        is_model: bool = False,
        captured: CapturedMemory | None = None,
    ) -> None:
        """Take a file's bytes and symbols.

        Args:
            pieces: the bytes that the file holds, by their offset from `xen_virt_start`.
            xen_virt_start: the start of Xen's gigabyte.
            symbols: Xen's symbols.
            release: the release that the image is.
            image: the range of the mapped image.
            is_model: nothing boots the built-in model, so all of it stays what it is.
            captured: memory of the running hypervisor.
        """
        self._pieces = pieces
        self._xen_virt_start = xen_virt_start
        self._symbols = symbols
        self._release = release
        self.image_start, self.image_end = image
        self._is_model = is_model
        self._captured = captured

    def read(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes; None unless all of them are known."""
        if self._captured is not None:
            contents = self._captured.read(address, size)
            if contents is not None:
                return contents
            if any(self._captured.available(address, size)):
                found = self.read_partly(address, size)
                return bytes(found.contents) if found.is_known else None
        starts, ends = self._constant
        index = bisect_right(starts, address) - 1
        if index >= 0 and address + size <= ends[index]:
            return self._pieces.read(address - self._xen_virt_start, size)
        return None

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        """Return those of `size` bytes that are known."""
        found = PartlyKnown(size)
        starts, ends = self._constant
        for index in range(max(bisect_right(starts, address) - 1, 0), len(starts)):
            if starts[index] >= address + size:
                break
            start, end = max(starts[index], address), min(ends[index], address + size)
            for offset, contents in self._pieces.available(start - self._xen_virt_start, end - start):
                found.put(offset + self._xen_virt_start - address, contents)
        if self._captured is not None:
            for place, contents in self._captured.available(address, size):
                found.put(place - address, contents)
        return found

    def as_linked(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes as the file has them, whatever boot makes of them; None unless it holds all of them."""
        return self._pieces.read(address - self._xen_virt_start, size)

    @cached_property
    def sections(self) -> tuple[ImageSection, ...]:
        """The sections of the image, in the order in which they are to be searched."""
        return image_sections(self._symbols.finder)

    def section_at(self, address: int) -> ImageSection | None:
        """Return the section of an address; None where none is known."""
        return next((found for found in self.sections if found.start <= address < found.end), None)

    def described(self, address: int) -> str | None:
        """Return an address as people call it: symbol, section, and what boot does to that; None outside the image."""
        if not self.image_start <= address < self.image_end:
            return None
        found = self._symbols.symbol_at(address)
        name = f"{address:#018x}" if found is None else text_of(found[0]) + (f"+{found[1]:#x}" if found[1] else "")
        section = self.section_at(address)
        if section is None:
            return name
        return f"{name} in {section.name}" + ("" if section.state == "constant" else f", {section.state}")

    def may_lose_endbr64(self, address: int) -> bool:
        """Tell whether boot takes the ENDBR64 of the function at an address on processors that track branches.

        Two tables in init data name these functions: they are called directly only, once boot is done
        (xen/arch/x86/alternative.c: _apply_alternatives; from 4.17.0 on). Captured memory tells.
        """
        if self._captured is not None and self._captured.read(address, 1) is not None:
            return False
        return address in self._cut_functions

    @cached_property
    def _cut_functions(self) -> frozenset[int]:
        find = self._symbols.finder
        start, end = find(b"__initdata_cf_clobber_start"), find(b"__initdata_cf_clobber_end")
        if ENDBR64_POISON not in self._release.endbr64_forms or start is None or end is None or end < start:
            return frozenset()
        table = self.as_linked(start, (end - start) // 8 * 8)
        return frozenset() if table is None else frozenset(np.frombuffer(table, "<u8").tolist()) - {0}

    @cached_property
    def boot_sites(self) -> BootSites | None:
        """The sites in Xen's text that boot patches; None where the file cannot tell."""
        return boot_sites(self.as_linked, self._symbols.finder, self._release)

    @cached_property
    def constant_ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges of the image that are at run time what the file says, ascending."""
        return tuple(zip(*self._constant, strict=True))

    @cached_property
    def _constant(self) -> tuple[list[int], list[int]]:
        if self._is_model:
            return [self.image_start], [self.image_end]
        sites = self.boot_sites
        changing = [(found.start, found.end) for found in self.sections if found.state != "constant"]
        page = self._symbols.address_of(_HYPERCALL_PAGE)
        if page is not None:
            changing.append((page, page + PAGE_SIZE))
        found = [np.empty((0, 2), np.uint64)]
        for section in sorted(self.sections, key=lambda found: found.start):
            if section.state != "constant" or not self._can_tell(section, sites):
                continue
            holes = np.array(changing, np.uint64).reshape(-1, 2)
            if sites is not None:
                holes = np.concatenate([holes, np.column_stack(sites)])
            found.append(_without(section.start, section.end, holes))
        starts, ends = np.concatenate(found).T.tolist()
        return starts, ends

    def _can_tell(self, section: ImageSection, sites: BootSites | None) -> bool:
        """Tell whether the file bounds everything that changes in a section which is constant otherwise."""
        if section.name == ".text":
            return sites is not None
        names = {found.name for found in self.sections}
        return ".ex_table" in names and (not self._release.has_ro_after_init or ".data.ro_after_init" in names)

    @cached_property
    def protections(self) -> tuple[Protection, ...]:
        """What the image's pages may be used for once it runs, ascending; init sections are unmapped by then."""
        text = self._symbols.address_of(b"_etext") or self.image_end
        read_only_end = self._page_at(b"__2M_rodata_end", text)
        text_end = min(self._page_at(b"__2M_text_end", text), read_only_end)
        init_start = self._page_at(b"__init_begin", read_only_end)
        init_end = self._page_at(b"__init_end", init_start)
        edges = (self.image_start, text_end, read_only_end, max(init_start, read_only_end), init_end, self.image_end)
        permissions: tuple[Permissions | None, ...] = ("r-x", "r--", "rw-", None, "rw-")
        return tuple(
            Protection(start, end, use)
            for (start, end), use in zip(pairwise(edges), permissions, strict=True)
            if use is not None and start < end
        )

    def _page_at(self, name: bytes, otherwise: int) -> int:
        """Return the first page boundary from a symbol on; the symbols that divide an image are on boundaries."""
        address = self._symbols.address_of(name)
        return -(-(address if address is not None else otherwise) // PAGE_SIZE) * PAGE_SIZE


def _without(start: int, end: int, holes: np.ndarray) -> np.ndarray:
    """Return what is left of a range without some others: rows of start and end; those may overlap, in any order."""
    holes = holes[(holes[:, 0] < end) & (holes[:, 1] > start) & (holes[:, 0] < holes[:, 1])]
    holes = holes[np.argsort(holes[:, 0], kind="stable")]
    lefts = np.concatenate([np.array([start], np.uint64), np.maximum.accumulate(holes[:, 1])])
    rights = np.concatenate([holes[:, 0], np.array([end], np.uint64)])
    lefts = np.maximum(lefts, np.uint64(start))
    left: np.ndarray = np.column_stack((lefts, rights))[lefts < rights]
    return left
