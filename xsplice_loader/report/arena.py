"""The map of the range for payloads as text: what is where, guards, holes, fragmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.report.escaping import for_terminal, path_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsplice_loader.memory.arena_map import ArenaMap

SHOWN_STRETCHES = 12
"""Stretches that are shown without -v; of a longer map only the sum."""


def arena_lines(arena: ArenaMap, names: Mapping[int, str], *, everything: bool) -> Iterator[str]:
    """Yield the lines of the map; `names` are the payloads' by the address of their first page."""
    if everything or len(arena.stretches) <= SHOWN_STRETCHES:
        for stretch in arena.stretches:
            unit = "page " if stretch.pages == 1 else "pages"
            what = for_terminal(path_text(names.get(stretch.start, stretch.kind)))
            yield f"  {stretch.start:#018x}  {stretch.pages:>7} {unit}  {what}"
    holes = sum(stretch.kind == "free" for stretch in arena.stretches)
    yield (
        f"  {holes} hole{'' if holes == 1 else 's'}, {arena.free_pages} pages free, {arena.largest_hole} in "
        "the largest: "
        f"fragmentation {arena.fragmentation:.1%}"
    )
