"""The way of Linux: free areas in a balanced tree, each node knowing the largest one below it.

Jan Beulich pointed at how x86-64 Linux treats its area for modules; Konrad Rzeszutek Wilk answered that the records
and the red-black tree behind it are too much to copy (`spec/05 §1`). In 2016 Linux kept the used areas in a tree and
walked from one to the next to find a gap; since 5.2 (2019) it keeps the free ones in a second tree in which every
node knows the largest free area of its subtree. That is what is built here.

*Where to put an area*: at the lowest free address that is enough. From the root, go left while something large enough
is there; take the node itself; else go right. Each area has one guard page behind it, which counts as part of it.

*How long is it*: every area knows its own pages. Linux finds it in the tree of used areas, by any address in it; here
a dictionary by the exact start is enough.

*Cost*: logarithmic in the number of holes for an area and for giving it back, constant for a size. `probes` counts
nodes of the tree, and one for each look into the dictionary.

*What is wrong with it*: only its length; Xen has a handful of payloads.

The tree is a treap: in order by address, and a heap by a random priority, which keeps it balanced on average. Which
address is found does not depend on its shape. Areas are counted in pages from the start of the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Hole:
    """A run of free pages: a node of the tree."""

    __slots__ = ("largest", "largest_left", "left", "pages", "parent", "priority", "right", "start")

    def __init__(self, start: int, priority: int, parent: _Hole | None) -> None:
        self.start = start
        self.pages = 0
        self.largest = self.largest_left = 0
        """The most pages of any hole in the subtree, and in its left half: going down, one node a level is enough."""
        self.priority = priority
        self.parent = parent
        self.left: _Hole | None = None
        self.right: _Hole | None = None

    def measure(self) -> int:
        """Set `largest_left`, and return what `largest` has to be."""
        left, right, pages = self.left, self.right, self.pages
        self.largest_left = most = left.largest if left is not None else 0
        if right is not None and right.largest > most:
            most = right.largest
        return most if most > pages else pages


class TreeVmap:
    """Gives out the lowest address that fits, in logarithmic time."""

    def __init__(self, start: int, end: int) -> None:
        """Use the addresses from `start` to `end`, page addresses."""
        self.start = start
        self.end = end
        self.probes = 0
        self._areas: dict[int, int] = {}
        self._priority = 0
        self._root: _Hole | None = None
        self._add(0, (end - start) // PAGE_SIZE)

    def copy(self) -> TreeVmap:
        """Return an independent copy."""
        twin = TreeVmap(self.start, self.start)
        twin.end = self.end
        twin._areas = dict(self._areas)
        hole = 0
        for address in sorted(self._areas):
            start = (address - self.start) // PAGE_SIZE
            twin._add(hole, start - hole)
            hole = start + self._areas[address] + 1
        twin._add(hole, (self.end - self.start) // PAGE_SIZE - hole)
        twin.probes = 0
        return twin

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return a page address for `len(mfns)` pages, or None."""
        needed = len(mfns) + 1
        hole = self._root
        if hole is None or hole.largest < needed:
            self.probes += 1
            return None
        nodes = 1
        while hole.largest_left >= needed or hole.pages < needed:
            # Something large enough is below: on the left if known to be there, else on the right.
            hole = hole.left if hole.largest_left >= needed else hole.right
            assert hole is not None
            nodes += 1
        self.probes += nodes
        address = self.start + hole.start * PAGE_SIZE
        self._areas[address] = needed - 1
        hole.start += needed
        self._resize(hole, hole.pages - needed)
        return address

    def release(self, address: int) -> None:
        """Give back what `reserve` returned; free neighbours become one hole."""
        self.probes += 1
        pages = self._areas.pop(address, None)
        if pages is None:
            return
        start = (address - self.start) // PAGE_SIZE
        end = start + pages + 1
        before, after = self._neighbours(start)
        if after is not None and after.start == end:
            end += after.pages
            self._resize(after, 0)
        if before is not None and before.start + before.pages == start:
            self._resize(before, end - before.start)
        else:
            self._add(start, end - start)

    def size(self, address: int) -> int:
        """Return the pages of the area that begins exactly at `address`; 0 where there is none."""
        self.probes += 1
        return self._areas.get(address, 0)

    def owns(self, address: int) -> bool:
        """Tell whether an area begins exactly at `address`."""
        self.probes += 1
        return address in self._areas

    def _neighbours(self, start: int) -> tuple[_Hole | None, _Hole | None]:
        """Return the holes before and after a page that is in none."""
        before = after = None
        hole = self._root
        while hole is not None:
            self.probes += 1
            if hole.start < start:
                before, hole = hole, hole.right
            else:
                after, hole = hole, hole.left
        return before, after

    def _add(self, start: int, pages: int) -> None:
        """Insert a hole. It enters with no pages, which changes no `largest`, and grows at its final place."""
        if not pages:
            return
        before, after = self._neighbours(start)
        # The two are neighbours in order, so one is an ancestor of the other, and the lower has the free place.
        parent = before if before is not None and before.right is None else after
        # One step of a linear congruential generator, with Knuth's constants for 64 bits.
        self._priority = (self._priority * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        hole = _Hole(start, self._priority, parent)
        if parent is None:
            self._root = hole
        elif parent is before:
            parent.right = hole
        else:
            parent.left = hole
        while hole.parent is not None and hole.parent.priority < hole.priority:
            self._raise(hole, hole.parent)
        self._resize(hole, pages)

    def _resize(self, hole: _Hole, pages: int) -> None:
        """Set the pages of a hole and what its ancestors know of it; a hole of no pages leaves the tree."""
        hole.pages = pages
        node: _Hole | None = hole
        while node is not None and node.largest != (largest := node.measure()):
            self.probes += 1
            node.largest = largest
            node = node.parent
        if not pages:
            self._remove(hole)

    def _remove(self, hole: _Hole) -> None:
        """Take a hole of no pages out: let it sink to where it has one child at most, which takes its place."""
        while (left := hole.left) is not None and (right := hole.right) is not None:
            self._raise(left if left.priority > right.priority else right, hole)
        self._replace(hole, hole.left or hole.right)

    def _raise(self, child: _Hole, parent: _Hole) -> None:
        """Rotate: `parent` becomes the child of its child."""
        self.probes += 1
        if parent.left is child:
            moved = parent.left = child.right
            child.right = parent
        else:
            moved = parent.right = child.left
            child.left = parent
        if moved is not None:
            moved.parent = parent
        self._replace(parent, child)
        parent.parent = child
        child.largest, parent.largest = parent.largest, parent.measure()
        child.measure()

    def _replace(self, old: _Hole, new: _Hole | None) -> None:
        """Hang `new` where `old` hangs."""
        above = old.parent
        if above is None:
            self._root = new
        elif above.left is old:
            above.left = new
        else:
            above.right = new
        if new is not None:
            new.parent = above
