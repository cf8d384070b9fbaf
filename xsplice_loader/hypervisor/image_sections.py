"""The sections of Xen's image as its linker script bounds them by symbols, and what becomes of each at run time.

Every file form has these symbols: `xen-syms` in its symbol table, boot images in the embedded one
(xen/arch/x86/xen.lds.S).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["constant", "written during boot", "variable", "freed after boot"]


class ImageSection(NamedTuple):
    """A run of addresses of the image, half open."""

    name: str
    start: int
    end: int
    state: State


# Ordered: where two overlap, the first says what is there. Names are those of Xen's linker script.
_BOUNDS: tuple[tuple[str, bytes, bytes, State], ...] = (
    (".text", b"_stext", b"_etext", "constant"),
    (".data.ro_after_init", b"__ro_after_init_start", b"__ro_after_init_end", "written during boot"),
    # Xen sorts its exception tables when it boots (xen/arch/x86/extable.c: sort_exception_tables).
    (".ex_table", b"__start___ex_table", b"__stop___ex_table", "written during boot"),
    (".ex_table.pre", b"__start___pre_ex_table", b"__stop___pre_ex_table", "written during boot"),
    (".rodata", b"_srodata", b"_erodata", "constant"),
    (".init.text", b"_sinittext", b"_einittext", "freed after boot"),
    (".init.data", b"__init_begin", b"__init_end", "freed after boot"),
    (".bss", b"__bss_start", b"__bss_end", "variable"),
    (".data", b"__2M_rwdata_start", b"__2M_rwdata_end", "variable"),
)


def image_sections(address_of: Callable[[bytes], int | None]) -> tuple[ImageSection, ...]:
    """Return the sections whose bounds are known, in the order in which they are to be searched."""
    found = []
    for name, first, last, state in _BOUNDS:
        start, end = address_of(first), address_of(last)
        if start is not None and end is not None and start < end:
            found.append(ImageSection(name, start, end, state))
    return tuple(found)
