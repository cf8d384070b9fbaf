"""Frames, an address and a mapping: all three, or everything as it was before."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from xsplice_loader.memory.address_space import AddressSpace
from xsplice_loader.memory.frames import DomainHeap
from xsplice_loader.memory.mapping import Protection
from xsplice_loader.memory.partly_known import PartlyKnown
from xsplice_loader.memory.vmalloc import OutOfMemoryError, VirtualMemory
from xsplice_loader.memory.vmap import Bitmap, Vmap, XenVmap
from xsplice_loader.memory.vmap.callback import CallbackVmap, NextFitVmap
from xsplice_loader.memory.vmap.loader import LoaderVmap
from xsplice_loader.memory.vmap.slots import SlotsVmap
from xsplice_loader.memory.vmap.tree import TreeVmap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsplice_loader.memory.vmap import VmapCallback

PAGE = 4096
IMAGE, IMAGE_END = 0xFFFF82D040200000, 0xFFFF82D040600000
START, END = 0xFFFF82D040800000, 0xFFFF82D048800000
FREE = 0xFFFF82D047000000
"""A page address that no design gets to in these tests."""
DEFAULT = 0xFFFF82C000000000, 0xFFFF82C008000000


class Image:
    image_start, image_end = IMAGE, IMAGE_END
    protections = (Protection(IMAGE, IMAGE_END, "r-x"),)

    def read(self, address: int, size: int) -> bytes | None:
        return b"\x90" * size if address >= IMAGE and address + size <= IMAGE_END else None

    def read_partly(self, address: int, size: int) -> PartlyKnown:
        found = PartlyKnown(size)
        if (contents := self.read(address, size)) is not None:
            found.put(0, contents)
        return found

    def described(self, address: int) -> str | None:
        return None

    def may_lose_endbr64(self, address: int) -> bool:
        return False

    def as_linked(self, address: int, size: int) -> bytes | None:
        return self.read(address, size)


DESIGNS: dict[str, Callable[[], Vmap]] = {
    "xen": lambda: XenVmap(Bitmap(*DEFAULT), arena := Bitmap(START, END), chosen=arena),
    "default": lambda: XenVmap(default := Bitmap(*DEFAULT), Bitmap(START, END), chosen=default),
    "callback": lambda: NextFitVmap(Bitmap(*DEFAULT), START, END),
    "slots": lambda: SlotsVmap(START, END),
    "tree": lambda: TreeVmap(START, END),
    "loader": lambda: LoaderVmap(START, END),
}
each = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def memory(vmap: Vmap, frames: int = 1000, *, anywhere: bool = False) -> VirtualMemory:
    return VirtualMemory(DomainHeap(frames), AddressSpace(Image()), vmap, anywhere=anywhere)


def books(virtual: VirtualMemory) -> tuple[Any, ...]:
    """Return all that can be seen of frames, mappings and addresses, now and in what follows."""
    heap = copy.deepcopy(virtual.heap)
    vmap = virtual.vmap.copy()
    mappings = virtual.space.mappings
    return (
        heap.free_frames,
        heap.allocate(heap.free_frames),
        [(mapping.start, list(mapping.mfns), mapping.contents.tobytes(), mapping.protections) for mapping in mappings],
        [virtual.vmap.size(mapping.start) for mapping in mappings],
        [vmap.reserve(range(pages)) for pages in (1, 3, 16, 2, 1)] if not isinstance(vmap, Stubborn) else None,
    )


class Stubborn(CallbackVmap):
    """The draft with the callback of a test, whose answers must not be asked for twice."""

    def __init__(self, callback: VmapCallback) -> None:
        super().__init__(Bitmap(*DEFAULT), callback)
        self.callback = callback

    def copy(self) -> Stubborn:
        twin = Stubborn(self.callback)
        twin.areas = list(self.areas)
        return twin


@each
def test_all_three_and_back(design: Callable[[], Vmap]) -> None:
    virtual = memory(design())
    before = books(virtual)
    first, second = virtual.vmalloc(3), virtual.vmalloc(2)
    assert virtual.space.mappings == (first, second)
    assert [virtual.vmap.size(first.start), virtual.vmap.size(second.start)] == [3, 2]
    assert virtual.heap.free_frames == 995
    assert len({*first.mfns, *second.mfns}) == 5
    assert virtual.space.read(second.start, 2 * PAGE) == bytes(2 * PAGE)
    virtual.vfree(second)
    virtual.vfree(first)
    assert books(virtual)[:4] == before[:4]
    assert virtual.vmalloc(3).mfns == first.mfns


@each
def test_vunmap_leaves_the_frames_to_the_caller(design: Callable[[], Vmap]) -> None:
    virtual = memory(design())
    mapping = virtual.vmalloc(3)
    assert virtual.vunmap(mapping) == mapping.mfns
    assert virtual.heap.free_frames == 997
    assert virtual.space.mappings == ()
    assert not virtual.vmap.owns(mapping.start)


@each
def test_no_pages(design: Callable[[], Vmap]) -> None:
    virtual = memory(design())
    nothing, something = virtual.vmalloc(0), virtual.vmalloc(2)
    assert (nothing.start, nothing.end, len(nothing.contents)) == (nothing.start, nothing.start, 0)
    virtual.vfree(nothing)
    assert virtual.vmap.size(something.start) == 2
    assert virtual.space.mappings == (something,)


@each
@pytest.mark.parametrize("frames", range(9))
def test_the_heap_runs_dry(design: Callable[[], Vmap], frames: int) -> None:
    virtual = memory(design(), frames + 5)
    virtual.vmalloc(5)
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match=f"{frames + 1} free pages"):
        virtual.vmalloc(frames + 1)
    assert books(virtual) == before
    asked = []
    with pytest.raises(OutOfMemoryError, match="free pages"):
        virtual.vmalloc_cb(9, lambda mfns, _pages: asked.append(mfns))
    assert asked == []  # frames first, then the address (spec/02 §7.1)
    assert books(virtual) == before


@each
def test_the_range_is_full(design: Callable[[], Vmap]) -> None:
    virtual = memory(design(), 40000)
    virtual.vmalloc(20000)
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match="no free range of 15000 pages"):
        virtual.vmalloc(15000)
    assert books(virtual) == before


@each
def test_the_address_is_taken_by_somebody_else(design: Callable[[], Vmap]) -> None:
    virtual = memory(design())
    virtual.vmalloc(1)
    coming = virtual.vmap.copy().reserve(range(3))
    assert coming is not None
    virtual.space.map_pages(coming + PAGE, [1])
    sizes = [virtual.vmap.size(mapping.start) for mapping in virtual.space.mappings]
    free = virtual.heap.free_frames
    with pytest.raises(OutOfMemoryError, match=f"{coming:#x}, is taken by the pages mapped at {coming + PAGE:#018x}"):
        virtual.vmalloc(3)
    assert [virtual.vmap.size(mapping.start) for mapping in virtual.space.mappings] == sizes
    assert virtual.heap.free_frames == free
    assert not virtual.vmap.owns(coming)


UNUSABLE = {
    "none": (None, "no free range of 3 pages"),
    "unaligned": (FREE + 1, "is not a page address"),
    "the start of another": (START + 0x1000000, "is taken by the pages mapped at 0xffff82d041800000"),
    "inside another": (START + 0x1001000, "is taken by the pages mapped at 0xffff82d041800000"),
    "into another from below": (START + 0x1000000 - 2 * PAGE, "is taken by the pages mapped at 0xffff82d041800000"),
    "Xen's image": (IMAGE + PAGE, "is taken by Xen's own image"),
    "into Xen's image": (IMAGE - 2 * PAGE, "is taken by Xen's own image"),
    "lower half": (0x1000, "upper half"),
    "not canonical": (0xFFFF7FFFFFFFF000, "upper half"),
    "zero": (0, "upper half"),
    "wrapping": ((1 << 64) - 2 * PAGE, "leaves no room for 3 pages"),
    "beyond": (1 << 64, "leaves no room for 3 pages"),
    "negative": (-PAGE, "leaves no room for 3 pages"),
}


@pytest.mark.parametrize(("answer", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_callback_that_answers_badly(answer: int | None, message: str) -> None:
    answers = iter([START + 0x1000000, answer, FREE, FREE])
    virtual = memory(Stubborn(lambda _mfns, _pages: next(answers)))
    virtual.vmalloc(4)
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match=message):
        virtual.vmalloc(3)
    assert books(virtual) == before
    assert virtual.vmalloc(3).start == FREE


@each
@pytest.mark.parametrize(("answer", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_vmalloc_cb_beside_a_design(design: Callable[[], Vmap], answer: int | None, message: str) -> None:
    virtual = memory(design())
    held = virtual.vmalloc_cb(4, lambda _mfns, _pages: START + 0x1000000)
    virtual.vmalloc(2)
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match=message):
        virtual.vmalloc_cb(3, lambda _mfns, _pages: answer)
    assert books(virtual) == before
    assert virtual.vmap.size(held.start) == 0  # the design keeps no books on it


@each
def test_a_callback_that_fails(design: Callable[[], Vmap]) -> None:
    seen: list[Sequence[int]] = []

    def failing(mfns: Sequence[int], pages: int) -> int | None:
        seen.append(list(mfns))
        raise RuntimeError(f"no idea where {pages} pages could go")

    beside, through = memory(design()), memory(Stubborn(failing))
    before = books(beside), books(through)
    with pytest.raises(RuntimeError, match="no idea where 3 pages could go"):
        beside.vmalloc_cb(3, failing)
    with pytest.raises(RuntimeError, match="no idea where 3 pages could go"):
        through.vmalloc(3)
    assert (books(beside), books(through)) == before
    assert [len(set(mfns)) for mfns in seen] == [3, 3]


def test_an_answer_that_is_no_number_is_out_of_memory_too() -> None:
    virtual = memory(Stubborn(lambda _mfns, _pages: "here"))  # type: ignore[arg-type,return-value]
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match="is no number"):
        virtual.vmalloc(3)
    assert books(virtual) == before


def test_anywhere() -> None:
    answers = iter([IMAGE, IMAGE, 0x1000, FREE + 1])
    virtual = memory(Stubborn(lambda _mfns, _pages: next(answers)), anywhere=True)
    assert [virtual.vmalloc(pages).start for pages in (2, 1, 1)] == [IMAGE, IMAGE, 0x1000]
    before = books(virtual)
    with pytest.raises(OutOfMemoryError, match="is not a page address"):
        virtual.vmalloc(1)
    assert books(virtual) == before


def test_frames() -> None:
    heap = DomainHeap(3)
    held = heap.allocate(2)
    assert held is not None
    assert heap.allocate(2) is None
    assert heap.free_frames == 1
    last = heap.allocate_page()
    assert last is not None
    assert last not in held
    assert heap.allocate_page() is None
    assert heap.allocate(0) == []
    heap.free(held)
    # Free frames are given out in the order in which they were.
    assert heap.allocate(2) == held
