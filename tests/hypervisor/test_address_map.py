"""Areas against the tables of spec/02 §8."""

from __future__ import annotations

import pytest

from xsplice_loader.memory.address_map import AddressMap, address_map, default_arena_end, default_vmap
from xsplice_loader.releases import release


def made(name: str, text_start: int, image_end: int, arena: tuple[int, int]) -> AddressMap:
    return address_map(
        release(name), text_start=text_start, image_end=image_end, arena_start=arena[0], arena_end=arena[1]
    )


MODERN = made("4.17.7", 0xFFFF82D040200000, 0xFFFF82D0405A7000, (0xFFFF82D0405A7000, 0xFFFF82D07FEFF000))
OLD = made("4.8.0", 0xFFFF82D080100000, 0xFFFF82D0803F0000, (0xFFFF82D080400000, 0xFFFF82D0BFF00000))


@pytest.mark.parametrize(
    ("areas", "address", "name"),
    [
        (MODERN, 0xFFFF828000000000, "machine-to-phys table"),
        (MODERN, 0xFFFF82BFFFFFFFFF, "machine-to-phys table"),
        (MODERN, 0xFFFF82C000000000, "vmap"),
        (MODERN, 0xFFFF82CFFFFFFFFF, "vmap"),
        (MODERN, 0xFFFF82D000000000, "compat machine-to-phys table"),
        (MODERN, 0xFFFF82D040000000, None),
        (MODERN, 0xFFFF82D040200000, "xen"),
        (MODERN, 0xFFFF82D0405A6FFF, "xen"),
        (MODERN, 0xFFFF82D0405A7000, "payload arena"),
        (MODERN, 0xFFFF82D07FEFEFFF, "payload arena"),
        (MODERN, 0xFFFF82D07FEFF000, "stubs"),
        (MODERN, 0xFFFF82D080000000, None),
        (MODERN, 0xFFFF82E000000000, "frame table"),
        (MODERN, 0xFFFF830000000000, "directmap"),
        (MODERN, 0xFFFF880000000000, None),
        (MODERN, 0, None),
        (OLD, 0xFFFF82D040000000, "high compat machine-to-phys table"),
        (OLD, 0xFFFF82D0803F0000, None),
        (OLD, 0xFFFF82D0BFF00000, "stubs"),
        (OLD, 0xFFFF82D0C0000000, None),
    ],
)
def test_area_of(areas: AddressMap, address: int, name: str | None) -> None:
    area = areas.area_of(address)
    assert (area and area.name) == name


def test_areas_are_in_order_and_apart() -> None:
    inside_vmap = made("4.17.7", 0xFFFF82D040200000, 0xFFFF82D0405A7000, (0xFFFF82C800000000, 0xFFFF82C900000000))
    for areas in (MODERN, OLD, inside_vmap):
        for below, above in zip(areas.areas, areas.areas[1:], strict=False):
            assert below.start < below.end <= above.start < above.end
    around = [area for area in inside_vmap.areas if area.name == "vmap"]
    assert [(area.start, area.end) for area in around] == [
        (0xFFFF82C000000000, 0xFFFF82C800000000),
        (0xFFFF82C900000000, 0xFFFF82D000000000),
    ]
    with pytest.raises(KeyError):
        MODERN.named("moon")


def test_defaults() -> None:
    assert default_vmap(release("4.7.0")) == default_vmap(release("4.21.0")) == (0xFFFF82C000000000, 0xFFFF82D000000000)
    assert default_arena_end(release("4.13.0"), 0xFFFF82D080000000) == 0xFFFF82D0BFF00000
    assert default_arena_end(release("4.14.0"), 0xFFFF82D040000000) == 0xFFFF82D07FEFF000
