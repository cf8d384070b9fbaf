"""Pages and what may be done with them: every access is tested, and a fault names both sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from xsplice_loader.memory.address_space import AddressSpace, MappingError, MemoryFault
from xsplice_loader.memory.frames import DomainHeap
from xsplice_loader.memory.mapping import Mapping, Protection
from xsplice_loader.memory.partly_known import PartlyKnown
from xsplice_loader.memory.vmalloc import VirtualMemory
from xsplice_loader.memory.vmap import Bitmap, XenVmap
from xsplice_loader.memory.vmap.tree import TreeVmap
from xsplice_loader.numbers import bytes_text

if TYPE_CHECKING:
    from xsplice_loader.releases import Permissions

PAGE = 4096
IMAGE, IMAGE_END = 0xFFFF82D040200000, 0xFFFF82D040204000
PLACE = 0xFFFF82D040800000


class Image:
    """Four pages of image; the last one's contents are not known."""

    image_start, image_end = IMAGE, IMAGE_END
    protections = (Protection(IMAGE, IMAGE + PAGE, "r-x"), Protection(IMAGE + 2 * PAGE, IMAGE_END, "rw-"))

    def read(self, address: int, size: int) -> bytes | None:
        contents = bytes(index % 251 for index in range(3 * PAGE))
        return None if address + size > IMAGE_END - PAGE else contents[address - IMAGE : address - IMAGE + size]

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        found = PartlyKnown(size)
        for offset in range(size):
            if (byte := self.read(address + offset, 1)) is not None:
                found.put(offset, byte)
        return found

    def described(self, address: int) -> str | None:
        return None

    def may_lose_endbr64(self, address: int) -> bool:
        return False

    def as_linked(self, address: int, size: int) -> bytes | None:
        return self.read(address, size)


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace(Image())


@pytest.fixture
def mapping(space: AddressSpace) -> Mapping:
    return space.map_pages(PLACE, [7, 8, 9])


def fault(message: str) -> pytest.RaisesExc[MemoryFault]:
    return pytest.raises(MemoryFault, match=re.escape(message))


def test_fresh_pages_are_zero_and_writable(space: AddressSpace, mapping: Mapping) -> None:
    assert (mapping.start, mapping.end, list(mapping.mfns)) == (PLACE, PLACE + 3 * PAGE, [7, 8, 9])
    assert space.read(PLACE, 3 * PAGE) == bytes(3 * PAGE)
    space.write(PLACE + PAGE - 2, b"over")
    assert space.read(PLACE + PAGE - 3, 6) == b"\0over\0"
    assert mapping.contents[PAGE - 2 : PAGE + 2].tobytes() == b"over"


@pytest.mark.parametrize(
    ("permissions", "writes", "fetches"),
    [("rw-", True, False), ("r-x", False, True), ("r--", False, False), ("rwx", True, True)],
)
def test_permissions(
    space: AddressSpace, mapping: Mapping, permissions: Permissions, writes: bool, fetches: bool
) -> None:
    space.modify_mappings(mapping.start, mapping.end, permissions)
    assert space.read(PLACE, 4) == bytes(4)
    where = f"the pages {PLACE:#018x}-{PLACE + 3 * PAGE:#018x}, which are {permissions}"
    if writes:
        space.write(PLACE + 16, b"\xc3")
    else:
        with fault(f"a write of 1 byte at {PLACE + 16:#018x}, into {where}") as caught:
            space.write(PLACE + 16, b"\xc3")
        assert caught.value.address == PLACE + 16
    assert mapping.contents[16] == (0xC3 if writes else 0)
    if fetches:
        assert space.fetch(PLACE + 16, 1) == (b"\xc3" if writes else b"\0")
    else:
        with fault(f"an instruction fetch of 1 byte at {PLACE + 16:#018x}, into {where}"):
            space.fetch(PLACE + 16, 1)


def test_modify_mappings_splits(space: AddressSpace, mapping: Mapping) -> None:
    middle = PLACE + PAGE, PLACE + 2 * PAGE
    space.modify_mappings(*middle, "r-x")
    assert mapping.protections == [
        (PLACE, PLACE + PAGE, "rw-"),
        (*middle, "r-x"),
        (PLACE + 2 * PAGE, PLACE + 3 * PAGE, "rw-"),
    ]
    space.write(middle[0] - 1, b"x")
    space.write(middle[1], b"x")
    # One byte of the access in the middle is enough.
    for address, size in ((middle[0] - 1, 2), (middle[1] - 1, 2), (middle[0] - 1, PAGE + 2)):
        with fault(f"into the pages {middle[0]:#018x}-{middle[1]:#018x}, which are r-x"):
            space.write(address, b"y" * size)
    assert space.read(middle[0] - 1, 1) == b"x"
    assert space.fetch(middle[0], PAGE) == bytes(PAGE)
    with fault("which are rw-"):
        space.fetch(middle[1] - 1, 2)
    # Text, data and constants of a payload, set one after the other (spec/02 §5).
    space.modify_mappings(PLACE, PLACE + PAGE, "r-x")
    space.modify_mappings(middle[1], PLACE + 3 * PAGE, "r--")
    space.modify_mappings(*middle, "rw-")
    assert [protection.permissions for protection in mapping.protections] == ["r-x", "rw-", "r--"]
    space.modify_mappings(PLACE, PLACE + 3 * PAGE, "rw-")
    assert mapping.protections == [(PLACE, PLACE + 3 * PAGE, "rw-")]


def test_modify_mappings_of_what_is_not_mapped(space: AddressSpace, mapping: Mapping) -> None:
    for start, end in ((PLACE - PAGE, PLACE), (PLACE + 2 * PAGE, PLACE + 4 * PAGE), (IMAGE, IMAGE + PAGE)):
        with fault(f"the pages {start:#018x}-{end:#018x} are not mapped, so they cannot be made r-x") as caught:
            space.modify_mappings(start, end, "r-x")
        assert caught.value.address == start
    assert mapping.protections == [(PLACE, PLACE + 3 * PAGE, "rw-")]


@pytest.mark.parametrize("guard_in_front", [True, False])
def test_guard_pages_fault(space: AddressSpace, guard_in_front: bool) -> None:
    arena = PLACE, PLACE + (128 << 20)
    bitmap = Bitmap(*arena)
    vmap = XenVmap(Bitmap(*arena), bitmap, chosen=bitmap) if guard_in_front else TreeVmap(*arena)
    virtual = VirtualMemory(DomainHeap(), space, vmap)
    first, second = virtual.vmalloc(2), virtual.vmalloc(1)
    assert second.start == first.end + PAGE
    for address, size in ((first.end, 1), (first.end - 1, 2), (second.start - 1, 2), (first.end - 1, PAGE + 2)):
        with fault(f"a read of {bytes_text(size)} at {address:#018x}, where nothing is mapped"):
            space.read(address, size)
        with fault(f"a write of {bytes_text(size)} at {address:#018x}, where nothing is mapped"):
            space.write(address, bytes(size))


def test_the_image_is_read_and_not_written(space: AddressSpace, mapping: Mapping) -> None:
    del mapping
    assert space.read(IMAGE + 5, 3) == bytes([5, 6, 7])
    assert space.fetch(IMAGE + 5, 3) == bytes([5, 6, 7])
    assert space.read(IMAGE_END - 8, 8) is None
    for address, size in ((IMAGE - 1, 1), (IMAGE - 1, 2), (IMAGE_END - 1, 2), (IMAGE_END, 1)):
        with fault(f"a read of {bytes_text(size)} at {address:#018x}, where nothing is mapped") as caught:
            space.read(address, size)
        assert caught.value.address == address
    with fault(f"a write of 4 bytes at {IMAGE:#018x}"):
        space.write(IMAGE, b"abcd")


def test_unmapped_is_gone(space: AddressSpace, mapping: Mapping) -> None:
    other = space.map_pages(PLACE + 4 * PAGE, [1])
    space.unmap(mapping)
    with fault(f"{PLACE:#018x}, where nothing is mapped"):
        space.read(PLACE, 1)
    assert list(space.mappings) == [other]
    again = space.map_pages(PLACE, [7, 8, 9, 10])
    assert list(space.mappings) == [again, other]


@pytest.mark.parametrize(
    ("start", "pages", "message"),
    [
        (PLACE + 1, 1, "is not a page address"),
        (0x1000, 1, "upper half"),
        (0xFFFF7FFFFFFFF000, 1, "upper half"),
        ((1 << 64) - PAGE, 2, "leaves no room for 2 pages"),
        (1 << 64, 1, "leaves no room for 1 pages"),
        (-PAGE, 1, "leaves no room for 1 pages"),
        (PLACE, 1, f"is taken by the pages mapped at {PLACE:#018x}"),
        (PLACE + 2 * PAGE, 1, f"is taken by the pages mapped at {PLACE:#018x}"),
        (PLACE - PAGE, 2, f"is taken by the pages mapped at {PLACE:#018x}"),
        (PLACE - PAGE, 6, f"is taken by the pages mapped at {PLACE:#018x}"),
        (IMAGE, 1, "is taken by Xen's own image"),
        (IMAGE - PAGE, 2, "is taken by Xen's own image"),
        (IMAGE_END - PAGE, 1, "is taken by Xen's own image"),
    ],
)
def test_where_nothing_can_be_mapped(
    space: AddressSpace, mapping: Mapping, start: int, pages: int, message: str
) -> None:
    with pytest.raises(MappingError, match=re.escape(message)):
        space.map_pages(start, range(pages))
    assert space.mappings == (mapping,)


@pytest.mark.parametrize(
    ("start", "pages"),
    [(PLACE - PAGE, 1), (PLACE + 3 * PAGE, 1), (IMAGE - PAGE, 1), (IMAGE_END, 1), ((1 << 64) - PAGE, 1)],
)
def test_right_beside_is_free(space: AddressSpace, mapping: Mapping, start: int, pages: int) -> None:
    del mapping
    assert space.occupant(start, pages) is None
    assert space.map_pages(start, range(pages)).start == start
    assert space.occupant(start, pages) == f"the pages mapped at {start:#018x}"


def test_on_top_of_others_by_hand(space: AddressSpace, mapping: Mapping) -> None:
    space.write(PLACE + PAGE, b"below")
    top = space.map_pages(PLACE + PAGE, [20], anywhere=True)
    space.write(PLACE + PAGE, b"above")
    assert space.read(PLACE + PAGE, 5) == b"above"
    same = space.map_pages(PLACE, [21], anywhere=True)
    space.write(PLACE, b"same")
    assert mapping.contents[0] == 0
    # Under a short mapping there is still the long one.
    assert space.read(PLACE + 2 * PAGE, 4) == bytes(4)
    space.unmap(same)
    assert space.read(PLACE, 4) == bytes(4)
    space.unmap(top)
    assert space.read(PLACE + PAGE, 5) == b"below"


def test_an_empty_mapping_is_in_nobodys_way(space: AddressSpace, mapping: Mapping) -> None:
    empty = space.map_pages(PLACE + PAGE, [], anywhere=True)
    assert empty.start == empty.end
    space.write(PLACE + PAGE, b"through")
    assert mapping.contents[PAGE : PAGE + 7].tobytes() == b"through"


def test_strings_and_what_is_available(space: AddressSpace, mapping: Mapping) -> None:
    space.write(PLACE + PAGE - 3, b"livepatch\0")
    assert space.read_string(PLACE + PAGE - 3) == b"livepatch"
    space.write(mapping.end - 4, b"open")
    with fault(f"at {mapping.end:#018x}, where nothing is mapped"):
        space.read_string(mapping.end - 4)
    assert space.read_available(mapping.end - 4, 4) == b"open"
    assert space.read_available(mapping.end - 4, 8) == b"open"
    assert space.read_available(mapping.end, 8) == b""
    assert space.read_string(IMAGE_END - PAGE) is None


def test_the_image_is_written_under_its_pages_permissions(space: AddressSpace) -> None:
    with fault(f"a write of 4 bytes at {IMAGE + 3:#018x}, into the pages"):
        space.write(IMAGE + 3, b"\xcc" * 4)
    space.overwrite(IMAGE + 3, b"\x03\xcc\xcc")
    assert space.read(IMAGE + 2, 5) == b"\x02\x03\xcc\xcc\x06"
    assert space.written == {IMAGE + 4: 0xCC, IMAGE + 5: 0xCC}
    space.write(IMAGE_END - 8, b"known")
    assert space.read(IMAGE_END - 8, 5) == b"known"
    assert space.read(IMAGE_END - 8, 6) is None


def test_a_gap_in_the_image_is_not_mapped(space: AddressSpace) -> None:
    for start, size in ((IMAGE + PAGE, 1), (IMAGE + PAGE - 1, 2), (IMAGE + 2 * PAGE - 1, 2), (IMAGE, 3 * PAGE)):
        with fault(f"a read of {bytes_text(size)} at {start:#018x}, where nothing is mapped"):
            space.read(start, size)
        with fault(f"a write of {bytes_text(size)} at {start:#018x}, where nothing is mapped"):
            space.overwrite(start, bytes(size))


def test_an_access_runs_on_into_the_next_mapping(space: AddressSpace, mapping: Mapping) -> None:
    following = space.map_pages(mapping.end, [11])
    space.overwrite(mapping.end - 2, b"over")
    assert space.read(mapping.end - 3, 6) == b"\0over\0"
    assert following.contents[:2].tobytes() == b"er"
    space.modify_mappings(following.start, following.end, "r-x")
    with fault("into the pages"):
        space.write(mapping.end - 2, b"more")
    with fault("where nothing is mapped"):
        space.read(following.end - 1, 2)


def test_as_much_as_is_available(space: AddressSpace, mapping: Mapping) -> None:
    assert space.read_available(mapping.end - 5, 32) == bytes(5)
    assert space.read_available(mapping.end, 32) == b""
    space.overwrite(IMAGE_END - 16, b"seven b")
    assert space.read_available(IMAGE_END - 16, 32) == b"seven b"


def test_what_was_written_can_be_taken_back(space: AddressSpace, mapping: Mapping) -> None:
    space.overwrite(IMAGE, b"before")
    written = space.written
    with space.tentative() as take_back:
        space.overwrite(IMAGE + 2, b"within")
        space.overwrite(PLACE, b"mapped")
        space.overwrite(IMAGE + 4, b"twice")
        take_back()
    assert space.written == written
    assert space.read(PLACE, 6) == bytes(6)


def test_what_is_written_back_is_not_written(space: AddressSpace) -> None:
    original = space.read(IMAGE, 4) or b""
    space.overwrite(IMAGE, b"\xff\xff\xff\xff")
    space.overwrite(IMAGE, original)
    assert space.written == {}


def test_a_string_that_ends_before_unknown_bytes_is_known(space: AddressSpace, mapping: Mapping) -> None:
    space.overwrite(mapping.start, b"name\0name")
    space.make_unknown(mapping.start + 6, 2, "a test")
    assert space.read_string(mapping.start) == b"name"
    assert space.read_string(mapping.start + 5) is None
