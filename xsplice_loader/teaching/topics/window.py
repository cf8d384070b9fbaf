"""At which addresses a payload fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.numbers import size_text
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.teaching.blocks import Block, Heading, Items, Paragraph, Table
from xsplice_loader.teaching.outcomes import verdict_text
from xsplice_loader.teaching.places import hexadecimal
from xsplice_loader.teaching.topics.cases import SMALL, load, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.relocation.window import Edge

_SIDES = {"low": "below it", "high": "above it", "none": "anywhere"}


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    scene = load(SMALL)
    window = scene.result.window
    hypervisor = scene.host.hypervisor
    yield Heading("At which addresses a payload fits")
    yield Paragraph(
        "Move a payload by a byte, and every distance between it and Xen grows or shrinks by a byte; distances "
        "within it stay. So each relocation that leads outside fits in one run of 2^32 addresses, and all of them "
        "together in what those runs have in common. No address has to be tried: the window is calculated."
    )
    if window is None or window.lowest is None or window.highest is None or window.headroom is None:
        yield Paragraph("This payload fits nowhere.")
        return
    yield Table(
        ("", "address"),
        (
            ("lowest base", hexadecimal(window.lowest)),
            ("highest base", hexadecimal(window.highest)),
            ("where it stands", hexadecimal(scene.trace.placement.base) if scene.trace is not None else "-"),
            ("payload range", f"{hexadecimal(hypervisor.arena_start)}-{hexadecimal(hypervisor.arena_end)}"),
        ),
    )
    covers = "All" if window.covers_arena else "Not all"
    yield Paragraph(
        f"{size_text(window.headroom)} are left to the nearer end. {covers} of the payload range lies inside: no "
        "order of uploads can bring the payload where it does not fit. What breaks first:"
    )
    yield Items(tuple(map(_edge, window.tightest)))
    yield Heading("The loader's own word")
    yield Paragraph("One page further on either side, and it is refused:")
    bases = (window.lowest - PAGE_SIZE, window.lowest, window.highest, window.highest + PAGE_SIZE)
    yield Table(
        ("placed at", "verdict"),
        tuple((hexadecimal(base), verdict_text(result_of(SMALL, place=base))) for base in bases),
    )


def _edge(edge: Edge) -> str:
    limit = edge.limit
    return f"{_SIDES[edge.side]} the {limit.kind} {limit.entry} of {limit.section}, {limit.symbol}"
