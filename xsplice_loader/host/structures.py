"""Xen's own data on payloads, laid out in the memory of a simulated host where hooks can read and write it.

`struct payload`, its array of function states, symbols and names are on Xen's heap, which is part of the direct map.
At which address, no file says: they are put where nothing else is simulated. The heads of Xen's lists are variables of
its image. All of it is brought up to date before a hook is called, and what the hook changed is taken over after it
(xen/common/livepatch.c, xen/common/virtual_region.c).
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.host.layouts import FUNCTION_STATE, LIST_HEAD, SYMBOL, payload_layout
from xsplice_loader.livepatch import hooks
from xsplice_loader.livepatch.function_states import STATE_NUMBERS, FunctionState
from xsplice_loader.livepatch.functions import SECTION as FUNCTIONS
from xsplice_loader.memory.address_map import DIRECTMAP
from xsplice_loader.memory.address_space import MemoryFault, UnknownRange
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.host.layouts import Layout
    from xsplice_loader.host_state import HostState, LoadedPayload
    from xsplice_loader.livepatch.notes import LiveId
    from xsplice_loader.memory.address_space import AddressSpace, Mapping
    from xsplice_loader.releases import Release

HEAP = DIRECTMAP[0] + 0x8000_0000
"""Where the simulated part of Xen's heap begins."""
NO_OBJECT = 0xBAD0BAD0BAD0BAD0
"""What Xen's allocator returns for no bytes (ZERO_BLOCK_PTR)."""
POISON = (0x0100100100100100, 0x0200200200200200)
"""What the links of a node hold that was taken off its list (LIST_POISON1, LIST_POISON2)."""
_HEAP_ALIGNMENT = 16
_FRAME_SIZE = 8
"""Of a bug frame of any type, as Xen counts them."""
_STAND_INS = DIRECTMAP[1] - (1 << 30)
"""Addresses in place of those that cannot be known; nothing is mapped there."""
_STAND_IN_SPACE = 1 << 20
_LISTS = ("livepatch.c#payload_list", "livepatch.c#applied_list", "virtual_region.c#virtual_region_list")
"""Variables that are the heads of lists: of all payloads, of those that are applied, of what counts as Xen's text."""
_SINGLE_HOOKS = {
    "hooks.apply.pre": hooks.PREAPPLY,
    "hooks.apply.action": hooks.APPLY,
    "hooks.apply.post": hooks.POSTAPPLY,
    "hooks.revert.pre": hooks.PREREVERT,
    "hooks.revert.action": hooks.REVERT,
    "hooks.revert.post": hooks.POSTREVERT,
}
_STATES = {number: state == "APPLIED" for state, number in STATE_NUMBERS.items()}


class NotFollowedError(Exception):
    """A hook changed something that the rest of the host is not simulated by; the message is a clause."""


class _Objects(NamedTuple):
    """What one payload has on the heap."""

    mapping: Mapping
    payload: int
    states: int
    symbols: int
    names: int
    constant: tuple[tuple[int, bytes], ...]
    """Addresses and contents of what does not change by itself: symbols and names."""
    gaps: tuple[UnknownRange, ...]
    """What else is in these pages: memory of Xen's that is not simulated."""


class _Laid(NamedTuple):
    """Something that was laid out."""

    what: str
    address: int
    contents: bytes
    loaded: LoadedPayload | None = None
    layout: Layout | None = None
    is_variable: bool = False
    """It is in Xen's image, where its contents are known only while they are up to date."""


class Structures:
    """The structures of one host, from the first hook on that is run."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._layout = payload_layout(release)
        self._objects: dict[LoadedPayload, _Objects] = {}
        self._stand_ins: dict[str, int] = {}
        self._laid: list[_Laid] = []

    def lay_out(self, host: HostState) -> None:
        """Bring all structures up to date in the host's memory."""
        for loaded in host.payloads:
            if loaded not in self._objects:
                self._objects[loaded] = self._allocate(loaded, host.memory)
        self._laid = []
        for laid in self._all(host):
            try:
                if host.memory.read(laid.address, len(laid.contents)) != laid.contents:
                    host.memory.overwrite(laid.address, laid.contents)
                for place in self._unknown_bytes(laid):
                    host.memory.make_unknown(laid.address + place, 1, "what was saved of a function is unknown")
            except MemoryFault:
                # A variable of an image that does not reach as far as its symbols.
                continue
            self._laid.append(laid)

    def take_over(self, host: HostState) -> None:
        """Have the host remember what a hook wrote to structures since they were laid out.

        Raises:
            NotFollowedError: it changed something that the simulated host does not read from memory.
        """
        for objects in self._objects.values():
            for gap in objects.gaps:
                if not all(host.memory.read_partly(gap.address, gap.size).unknown):
                    raise NotFollowedError("writes to Xen's heap next to struct payload")
        for laid in self._laid:
            partly = host.memory.read_partly(laid.address, len(laid.contents))
            known = zip(partly.contents, partly.unknown, laid.contents, strict=True)
            found = bytes(before if unknown else byte for byte, unknown, before in known)
            if found == laid.contents:
                if laid.is_variable:
                    host.memory.make_unknown(laid.address, len(found), f"{laid.what} may have changed")
            elif laid.loaded is None or laid.layout is None:
                raise NotFollowedError(f"changes {laid.what}")
            elif laid.layout is FUNCTION_STATE:
                self._take_states(laid.loaded, found)
            else:
                self._take_payload(laid.loaded, laid.contents, found)

    def payload(self, loaded: LoadedPayload) -> int:
        """Return the address of a payload's `struct payload`."""
        return self._objects[loaded].payload

    def free(self, loaded: LoadedPayload, memory: AddressSpace) -> None:
        """Give the memory of an unloaded payload's structures back."""
        objects = self._objects.pop(loaded, None)
        if objects is not None:
            memory.unmap(objects.mapping)

    @staticmethod
    def _unknown_bytes(laid: _Laid) -> list[int]:
        """Return where in what was laid out a function's saved bytes are not known."""
        if laid.loaded is None or laid.layout is not FUNCTION_STATE:
            return []
        start = FUNCTION_STATE.members["insn_buffer"].offset
        saved = laid.loaded.status.unknown_saved
        return [number * FUNCTION_STATE.size + start + place for number, places in saved.items() for place in places]

    # Taking over ---------------------------------------------------------------------------------------------------

    def _take_states(self, loaded: LoadedPayload, found: bytes) -> None:
        size = FUNCTION_STATE.size
        loaded.status.functions = [
            FunctionState(
                FUNCTION_STATE.value("applied", entry),
                FUNCTION_STATE.value("patch_offset", entry),
                entry[FUNCTION_STATE.members["insn_buffer"].offset :][:31],
            )
            for entry in (found[start : start + size] for start in range(0, len(found), size))
        ]

    def _take_payload(self, loaded: LoadedPayload, before: bytes, after: bytes) -> None:
        status = loaded.status
        for name in self._layout.changed(before, after):
            value = self._layout.value(name, after) if name in self._layout.members else 0
            if name == "rc":
                status.rc = value - (1 << 32) if value >> 31 else value
            elif name == "reverted":
                status.was_reverted = bool(value)
            elif name == "safe_to_reapply":
                status.may_be_reapplied = bool(value)
            elif name == "state" and value in _STATES:
                status.is_applied = _STATES[value]
            elif name != "padding":
                raise NotFollowedError(f"changes `{name}` of struct payload")

    # Laying out ----------------------------------------------------------------------------------------------------

    def _allocate(self, loaded: LoadedPayload, memory: AddressSpace) -> _Objects:
        strings = b"".join(symbol.name + b"\0" for symbol in loaded.symbols)
        sizes = [
            self._layout.size,
            0 if self._release.keeps_state_in_payload else FUNCTION_STATE.size * loaded.table.entries,
            SYMBOL.size * len(loaded.symbols),
            len(strings),
        ]
        offsets = [0]
        for size in sizes:
            offsets.append(-(-(offsets[-1] + size) // _HEAP_ALIGNMENT) * _HEAP_ALIGNMENT)
        used = [offset + size for offset, size in zip(offsets, sizes, strict=False)]
        pages = -(-offsets[-1] // PAGE_SIZE)
        start = _free_place(memory, pages)
        frame = (start - DIRECTMAP[0]) // PAGE_SIZE
        mapping = memory.map_pages(start, range(frame, frame + pages), anywhere=True)
        payload, states, symbols, names = (
            start + place if end > place else NO_OBJECT for place, end in pairwise(offsets)
        )
        rows, place = bytearray(), names
        for symbol in loaded.symbols:
            rows += SYMBOL.packed(
                {"name": place, "value": symbol.value, "size": symbol.size, "new_symbol": symbol.is_new}
            )
            place += len(symbol.name) + 1
        constant = ((symbols, bytes(rows)), (names, strings)) if loaded.symbols else ()
        following = (*offsets[1:-1], pages * PAGE_SIZE)
        gaps = tuple(
            UnknownRange(start + end, begin - end, "what Xen's heap holds next to struct payload")
            for end, begin in zip(used, following, strict=True)
            if end < begin
        )
        for gap in gaps:
            mapping.mark_unknown(gap)
        return _Objects(mapping, payload, states, symbols, names, constant, gaps)

    def _all(self, host: HostState) -> Iterator[_Laid]:
        links = self._links(host)
        for loaded in host.payloads:
            objects = self._objects[loaded]
            values = {**self._values(loaded, objects, host), **links[objects.payload]}
            yield _Laid("struct payload", objects.payload, self._layout.packed(values), loaded, self._layout)
            if loaded.status.functions and objects.states != NO_OBJECT:
                yield _Laid("a function's state", objects.states, _packed_states(loaded), loaded, FUNCTION_STATE)
            for address, contents in objects.constant:
                yield _Laid(f"the symbols of {loaded.shown_name}", address, contents)
        for name in _LISTS:
            head = _variable(host, name)
            if head is not None:
                yield _Laid(f"the head of {name}", head, LIST_HEAD.packed(links[head]), is_variable=True)
        core = _variable(host, "virtual_region.c#core")
        if core is not None:
            yield _Laid("the region of Xen's own text", core, LIST_HEAD.packed(links[core]), is_variable=True)
        count = _variable(host, "livepatch.c#payload_cnt")
        if count is not None:
            yield _Laid("payload_cnt", count, len(host.payloads).to_bytes(4, "little"), is_variable=True)

    def _links(self, host: HostState) -> dict[int, dict[str, int]]:
        """Return the links of every payload, and of all else that is on one of their lists, by address."""
        links: dict[int, dict[str, int]] = {self._objects[loaded].payload: {} for loaded in host.payloads}

        def chain(head: int, first: int | None, loadeds: Sequence[LoadedPayload], member: str) -> None:
            offset = self._layout.members[f"{member}.next"].offset
            nodes = [head, *([] if first is None else [first])]
            nodes += [self._objects[loaded].payload + offset for loaded in loadeds]
            owners = nodes[: 1 if first is None else 2] + [self._objects[loaded].payload for loaded in loadeds]
            for index, (node, owner) in enumerate(zip(nodes, owners, strict=True)):
                prefix = f"{member}." if node != owner else ""
                following = nodes[(index + 1) % len(nodes)]
                links.setdefault(owner, {}).update({f"{prefix}next": following, f"{prefix}prev": nodes[index - 1]})

        heads = [_variable(host, name) or self._stand_in(name) for name in _LISTS]
        payload_list, applied_list, region_list = heads
        active = host.payloads if self._release.text_active_from_load else host.applied
        chain(payload_list, None, host.payloads, "list")
        chain(applied_list, None, host.applied, "applied_list")
        chain(region_list, _variable(host, "virtual_region.c#core"), active, "region.list")
        for loaded in host.payloads:
            address = self._objects[loaded].payload
            own = links[address]
            # A payload is taken off its list from the end, and where its link is kept it leads to the list's head.
            if loaded not in host.applied:
                own_node = address + self._layout.members["applied_list.next"].offset
                pair = (own_node, own_node)
                if loaded.status.was_removed:
                    pair = POISON if self._release.text_active_from_load else (applied_list, POISON[1])
                own["applied_list.next"], own["applied_list.prev"] = pair
            if loaded not in active:
                pair = (region_list, POISON[1]) if loaded.status.was_removed else (0, 0)
                own["region.list.next"], own["region.list.prev"] = pair
        return links

    def _values(self, loaded: LoadedPayload, objects: _Objects, host: HostState) -> dict[str, int | bytes]:
        status, (text, rw, ro) = loaded.status, loaded.placement.regions
        symbols_lookup = _variable(host, "livepatch.c#livepatch_symbols_lookup")
        ex = self._section(loaded, ".ex_table")
        values: dict[str, int | bytes] = {
            "state": STATE_NUMBERS[status.state],
            "rc": status.rc,
            "reverted": status.was_reverted,
            "safe_to_reapply": loaded.is_safe_to_reapply,
            "pages": loaded.placement.pages,
            "funcs": self._section(loaded, FUNCTIONS)[0],
            "fstate": objects.states if loaded.payload.section_named(FUNCTIONS) is not None else 0,
            "nfuncs": loaded.table.entries,
            "symtab": objects.symbols,
            "strtab": objects.names,
            "region.text_start": text.address,
            "region.text_end": text.address + text.size,
            "region.rodata_start": ro.address,
            "region.rodata_end": ro.address + ro.size,
            "region.symbols_lookup": symbols_lookup or self._stand_in("livepatch_symbols_lookup"),
            "region.ex": ex[0],
            "region.ex_end": ex[0] + ex[1],
            "nsyms": len(loaded.symbols),
            "name": os.fsencode(loaded.name),
            "metadata.data": self._section(loaded, ".modinfo")[0],
            "metadata.len": self._section(loaded, ".modinfo")[1],
        }
        for region in (text, rw, ro):
            values |= {f"{region.name}_addr": region.address, f"{region.name}_size": region.size}
        for kind in range(4):
            address, size = self._section(loaded, f".bug_frames.{kind}")
            second = address + size if self._release.region_tables_have_ends else size // _FRAME_SIZE
            values |= {f"region.frame[{kind}].first": address, f"region.frame[{kind}].second": second}
        for name, note in (("id", loaded.build_id), ("dep", loaded.depends), ("xen_dep", loaded.xen_depends)):
            values |= {f"{name}.p": self._note(note), f"{name}.len": 0 if note is None else len(note.contents)}
        for name, array in (("load_funcs", hooks.LOAD), ("unload_funcs", hooks.UNLOAD)):
            address, size = self._section(loaded, array)
            values |= {name: address, f"n_{name}": size // hooks.POINTER_SIZE}
        values |= {name: self._section(loaded, section)[0] for name, section in _SINGLE_HOOKS.items()}
        return values

    def _section(self, loaded: LoadedPayload, name: str) -> tuple[int, int]:
        """Return where a section was loaded, and its size; two zeros where there is none."""
        section = loaded.payload.section_named(name)
        if section is None:
            return 0, 0
        address = loaded.placement.addresses.get(section.index)
        if address is None:
            # It is in the upload's buffer, or nowhere.
            address = self._stand_in("the upload's buffer") if self._release.passes_note_errors else 0
        return address, section.size

    def _note(self, note: LiveId | None) -> int:
        if note is None:
            return 0
        return self._stand_in("the upload's buffer") if note.address is None else note.address

    def _stand_in(self, name: str) -> int:
        return self._stand_ins.setdefault(name, _STAND_INS + len(self._stand_ins) * PAGE_SIZE)


def is_on_heap(address: int) -> bool:
    """Tell whether an address is one that structures were given here."""
    return HEAP <= address < _STAND_INS


def is_stand_in(address: int) -> bool:
    """Tell whether an address is one in place of an address that cannot be known."""
    return _STAND_INS <= address < _STAND_INS + _STAND_IN_SPACE


def _variable(host: HostState, name: str) -> int | None:
    """Return the address of a file's own symbol; up to 4.12 files are named without their folders."""
    address_of = host.hypervisor.symbols.address_of
    found = address_of(f"common/{name}".encode())
    return found if found is not None else address_of(name.encode())


def _packed_states(loaded: LoadedPayload) -> bytes:
    return b"".join(
        FUNCTION_STATE.packed({"patch_offset": state.patch_offset, "applied": state.mark, "insn_buffer": state.saved})
        for state in loaded.status.functions
    )


def _free_place(memory: AddressSpace, pages: int) -> int:
    """Return the lowest place on the heap after all that is mapped there."""
    ends = [mapping.end for mapping in memory.mappings if HEAP <= mapping.start < _STAND_INS]
    # A page stays free between two, so that running off one is found out.
    return max(ends, default=HEAP) + PAGE_SIZE
