"""Xen's own data on payloads, laid out in the memory of a simulated host where hooks can read and write it.

`struct payload`, its array of function states, symbols and names are on Xen's heap. The heads of Xen's lists are
variables of its image. All of it is brought up to date before a hook is called, and what the hook changed is taken over
after it (xen/common/livepatch.c, xen/common/virtual_region.c).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from xsplice_loader.host.heap import Objects, allocate, placeholder
from xsplice_loader.host.layouts import FUNCTION_STATE, LIST_HEAD, SYMBOL, payload_layout
from xsplice_loader.livepatch import hooks
from xsplice_loader.livepatch.function_states import SAVED_OFFSET, STATE_NUMBERS, FunctionState
from xsplice_loader.livepatch.functions import INSN_BUFFER_SIZE
from xsplice_loader.livepatch.functions import SECTION as FUNCTIONS
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.numbers import signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.host.layouts import Layout
    from xsplice_loader.host_state import HostState, LoadedPayload
    from xsplice_loader.livepatch.notes import LiveId
    from xsplice_loader.memory.address_space import AddressSpace
    from xsplice_loader.releases import Release

NO_OBJECT = 0xBAD0BAD0BAD0BAD0
"""What Xen's allocator returns for no bytes (ZERO_BLOCK_PTR)."""
POISON = (0x0100100100100100, 0x0200200200200200)
"""What the links of a node hold that was taken off its list (LIST_POISON1, LIST_POISON2)."""
_FRAME_SIZE = 8
"""Of a bug frame of any type, as Xen counts them."""
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


class NotFollowedError(Exception):
    """A hook changed something that the rest of the host is not simulated by; the message is a clause."""


class _Owned(NamedTuple):
    """What one payload has on the heap."""

    objects: Objects
    payload: int
    states: int
    symbols: int
    names: int
    constant: tuple[tuple[int, bytes], ...]
    """Addresses and contents of what does not change by itself: symbols and names."""


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

    def __init__(self, release: Release, original: Structures | None = None) -> None:
        """With `original`, be a copy of that at other addresses."""
        self._release = release
        self._original = original
        self._layout = payload_layout(release)
        self._owned: dict[LoadedPayload, _Owned] = {}
        self._placeholders: dict[str, int] = {}
        self._laid: list[_Laid] = []

    def lay_out(self, host: HostState) -> None:
        """Bring all structures up to date in the host's memory."""
        for loaded in host.payloads:
            if loaded not in self._owned:
                self._owned[loaded] = self._allocate(loaded, host.memory)
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
        for owned in self._owned.values():
            for gap in owned.objects.gaps:
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
        for loaded in host.payloads:
            self._take_saved(loaded, host.memory)
            self._check_known(loaded, host.memory)

    def payload(self, loaded: LoadedPayload) -> int:
        """Return the address of a payload's `struct payload`."""
        return self._owned[loaded].payload

    def free(self, loaded: LoadedPayload, memory: AddressSpace) -> None:
        """Give the memory of an unloaded payload's structures back."""
        owned = self._owned.pop(loaded, None)
        if owned is not None:
            memory.unmap(owned.objects.mapping)

    @contextmanager
    def elsewhere(self, host: HostState) -> Iterator[Structures]:
        """Have a copy of the structures at other addresses, which Xen's lists lead to meanwhile."""
        copy = Structures(self._release, self)
        copy.lay_out(host)
        try:
            yield copy
        finally:
            for loaded in host.payloads:
                copy.free(loaded, host.memory)
            self.lay_out(host)

    def original_address(self, address: int) -> int:
        """Return where the original has what a copy has at an address; any other address is the same in both."""
        for loaded, (objects, *_) in self._owned.items():
            for number, (start, size) in enumerate(zip(objects.starts, objects.sizes, strict=True)):
                if self._original is not None and start <= address < start + size:
                    return self._original._owned[loaded].objects.starts[number] + address - start
        return address

    def holds(self, address: int) -> bool:
        """Tell whether an address is within a structure that was laid out."""
        return any(laid.address <= address < laid.address + len(laid.contents) for laid in self._laid)

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

    def _take_saved(self, loaded: LoadedPayload, memory: AddressSpace) -> None:
        """Of the saved bytes that were unknown, forget those that a hook has overwritten."""
        if self._release.keeps_state_in_payload:
            start, size = loaded.table.address + SAVED_OFFSET, self._release.function_entry_size
        else:
            start, size = self._owned[loaded].states + FUNCTION_STATE.members["insn_buffer"].offset, FUNCTION_STATE.size
        loaded.status.unknown_saved = {
            number: tuple(place for place in places if memory.read(start + number * size + place, 1) is None)
            for number, places in loaded.status.unknown_saved.items()
        }

    def _check_known(self, loaded: LoadedPayload, memory: AddressSpace) -> None:
        """Refuse to go on where something that Xen reads of a payload is unknown now; saved bytes may be."""
        size = self._release.function_entry_size
        parts = [(loaded.table.address + number * size, size) for number in range(loaded.table.entries)]
        notes = (note for note in (loaded.build_id, loaded.depends, loaded.xen_depends) if note is not None)
        places = [
            (loaded.metadata.address, loaded.metadata.size),
            *((note.address, len(note.contents)) for note in notes),
        ]
        saved = range(SAVED_OFFSET, SAVED_OFFSET + INSN_BUFFER_SIZE)
        for number, (address, length) in enumerate([*parts, *places]):
            # What was left in the upload buffer is gone, and who reads it dies of that.
            if not address or not length:
                continue
            unknown = memory.read_partly(address, length).unknown
            lost = {at for at, is_unknown in enumerate(unknown) if is_unknown}
            if lost.difference(saved if number < len(parts) else ()):
                raise NotFollowedError(f"stores an unknown value in what Xen reads of {loaded.shown_name}")

    def _take_payload(self, loaded: LoadedPayload, before: bytes, after: bytes) -> None:
        status = loaded.status
        for name in self._layout.changed(before, after):
            value = self._layout.value(name, after) if name in self._layout.members else 0
            if name == "rc":
                status.rc = signed(value, 32)
            elif name == "reverted":
                status.was_reverted = bool(value)
            elif name == "safe_to_reapply":
                status.may_be_reapplied = bool(value)
            elif name != "padding":
                # `state` too: the list of applied payloads would disagree, and what Xen makes of that is not simulated.
                raise NotFollowedError(f"changes `{name}` of struct payload")

    # Laying out ----------------------------------------------------------------------------------------------------

    def _allocate(self, loaded: LoadedPayload, memory: AddressSpace) -> _Owned:
        strings = b"".join(symbol.name + b"\0" for symbol in loaded.symbols)
        sizes = [
            self._layout.size,
            0 if self._release.keeps_state_in_payload else FUNCTION_STATE.size * loaded.table.entries,
            SYMBOL.size * len(loaded.symbols),
            len(strings),
        ]
        original = None if self._original is None else self._original._owned[loaded].objects
        objects = allocate(memory, sizes, original)
        payload, states, symbols, names = (
            start if size else NO_OBJECT for start, size in zip(objects.starts, sizes, strict=True)
        )
        rows, place = bytearray(), names
        for symbol in loaded.symbols:
            rows += SYMBOL.packed(
                {"name": place, "value": symbol.value, "size": symbol.size, "new_symbol": symbol.is_new}
            )
            place += len(symbol.name) + 1
        constant = ((symbols, bytes(rows)), (names, strings)) if loaded.symbols else ()
        return _Owned(objects, payload, states, symbols, names, constant)

    def _all(self, host: HostState) -> Iterator[_Laid]:
        links = self._links(host)
        for loaded in host.payloads:
            owned = self._owned[loaded]
            values = {**self._values(loaded, owned, host), **links[owned.payload]}
            yield _Laid("struct payload", owned.payload, self._layout.packed(values), loaded, self._layout)
            if loaded.status.functions and owned.states != NO_OBJECT:
                yield _Laid("a function's state", owned.states, _packed_states(loaded), loaded, FUNCTION_STATE)
            for address, contents in owned.constant:
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
        links: dict[int, dict[str, int]] = {self._owned[loaded].payload: {} for loaded in host.payloads}

        def chain(head: int, first: int | None, loadeds: Sequence[LoadedPayload], member: str) -> None:
            offset = self._layout.members[f"{member}.next"].offset
            nodes = [head, *([] if first is None else [first])]
            nodes += [self._owned[loaded].payload + offset for loaded in loadeds]
            owners = nodes[: 1 if first is None else 2] + [self._owned[loaded].payload for loaded in loadeds]
            for index, (node, owner) in enumerate(zip(nodes, owners, strict=True)):
                prefix = f"{member}." if node != owner else ""
                following = nodes[(index + 1) % len(nodes)]
                links.setdefault(owner, {}).update({f"{prefix}next": following, f"{prefix}prev": nodes[index - 1]})

        heads = [_variable(host, name) or self._placeholder(name) for name in _LISTS]
        payload_list, applied_list, region_list = heads
        active = host.payloads if self._release.text_active_from_load else host.applied
        chain(payload_list, None, host.payloads, "list")
        chain(applied_list, None, host.applied, "applied_list")
        chain(region_list, _variable(host, "virtual_region.c#core"), active, "region.list")
        for loaded in host.payloads:
            address = self._owned[loaded].payload
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

    def _values(self, loaded: LoadedPayload, owned: _Owned, host: HostState) -> dict[str, int | bytes]:
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
            "fstate": owned.states if loaded.payload.section_named(FUNCTIONS) is not None else 0,
            "nfuncs": loaded.table.entries,
            "symtab": owned.symbols,
            "strtab": owned.names,
            "region.text_start": text.address,
            "region.text_end": text.address + text.size,
            "region.rodata_start": ro.address,
            "region.rodata_end": ro.address + ro.size,
            "region.symbols_lookup": symbols_lookup or self._placeholder("livepatch_symbols_lookup"),
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
            address = self._placeholder("the upload's buffer") if self._release.passes_note_errors else 0
        return address, section.size

    def _note(self, note: LiveId | None) -> int:
        if note is None:
            return 0
        return self._placeholder("the upload's buffer") if note.address is None else note.address

    def _placeholder(self, name: str) -> int:
        number = len(self._placeholders)
        return self._placeholders.setdefault(name, placeholder(number, is_copy=self._original is not None))


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
