"""The map of the range: every page once, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xsplice_loader.memory.arena_map import ArenaMap, Guards, Stretch, arena_map
from xsplice_loader.memory.mapping import Mapping

PAGE = 4096
START = 0xFFFF82D040800000


def test_a_map_as_drawn_by_hand() -> None:
    mappings = [Mapping(START + 9 * PAGE, [1, 2, 3]), Mapping(START + 20 * PAGE, [4])]
    found = arena_map(START, START + 30 * PAGE, mappings, bitmap_pages=8, guards="before")
    assert [(s.kind, (s.start - START) // PAGE, s.pages) for s in found.stretches] == [
        ("bitmap", 0, 8),
        ("guard", 8, 1),
        ("payload", 9, 3),
        ("free", 12, 7),
        ("guard", 19, 1),
        ("payload", 20, 1),
        ("free", 21, 9),
    ]
    assert (found.free_pages, found.largest_hole) == (16, 9)
    assert found.fragmentation == 1 - 9 / 16


def test_nothing_free_is_not_fragmented() -> None:
    assert ArenaMap((Stretch(START, 1, "payload"),)).fragmentation == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=8),
    st.sampled_from(["before", "none"]),
    st.integers(0, 3),
)
def test_every_page_once(areas: list[tuple[int, int]], guards: Guards, bitmap_pages: int) -> None:
    mappings, position = [], START + bitmap_pages * PAGE
    for gap, pages in areas:
        mappings.append(Mapping(position + gap * PAGE, list(range(pages))))
        position = mappings[-1].end
    end = position + 3 * PAGE
    found = arena_map(START, end, mappings, bitmap_pages=bitmap_pages, guards=guards)
    position = START
    for stretch in found.stretches:
        assert stretch.start == position
        assert stretch.pages > 0
        position += stretch.pages * PAGE
    assert position == end
    assert sum(s.pages for s in found.stretches if s.kind == "payload") == sum(pages for _, pages in areas)


def test_a_guard_behind_each() -> None:
    mappings = [Mapping(START, [1, 2]), Mapping(START + 3 * PAGE, [3])]
    found = arena_map(START, START + 8 * PAGE, mappings, bitmap_pages=0, guards="behind")
    assert [(s.kind, s.pages) for s in found.stretches] == [
        ("payload", 2),
        ("guard", 1),
        ("payload", 1),
        ("guard", 1),
        ("free", 3),
    ]
