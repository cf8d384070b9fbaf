"""How structures of Xen's are laid out in memory, per release.

Sources: xen/include/xen/livepatch_payload.h (up to 4.13 xen/common/livepatch.c), xen/include/xen/virtual_region.h and
xen/include/xen/livepatch.h. Members have their natural alignment, as the System V ABI has it, so that a list of the
members that a release has, in order, gives all offsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xsplice_loader.releases import Release

_ALIGNMENT = 8
"""Of structures and of all that is larger than a pointer."""
NAME_SIZE = 128

# What a member's presence depends on: a switch of the release, and whether it is to be set.
_ALWAYS = ("function_version", True)
_IN_4_8 = ("hook_arrays", True)
_IN_4_14 = ("single_hooks", True)
_STATES = ("keeps_state_in_payload", False)
_RODATA = ("region_has_rodata", True)
_XEN_DEPENDS = ("shows_xen_depends", True)

_PAYLOAD: tuple[tuple[str, int, tuple[str, bool]], ...] = (
    ("state", 4, _ALWAYS),
    ("rc", 4, _ALWAYS),
    ("reverted", 1, _IN_4_8),
    ("safe_to_reapply", 1, _IN_4_8),
    ("list.next", 8, _ALWAYS),
    ("list.prev", 8, _ALWAYS),
    ("text_addr", 8, _ALWAYS),
    ("text_size", 8, _ALWAYS),
    ("rw_addr", 8, _ALWAYS),
    ("rw_size", 8, _ALWAYS),
    ("ro_addr", 8, _ALWAYS),
    ("ro_size", 8, _ALWAYS),
    ("pages", 4, _ALWAYS),
    ("applied_list.next", 8, _ALWAYS),
    ("applied_list.prev", 8, _ALWAYS),
    ("funcs", 8, _ALWAYS),
    ("fstate", 8, _STATES),
    ("nfuncs", 4, _ALWAYS),
    ("symtab", 8, _ALWAYS),
    ("strtab", 8, _ALWAYS),
    ("region.list.next", 8, _ALWAYS),
    ("region.list.prev", 8, _ALWAYS),
    ("region.text_start", 8, _ALWAYS),
    ("region.text_end", 8, _ALWAYS),
    ("region.rodata_start", 8, _RODATA),
    ("region.rodata_end", 8, _RODATA),
    ("region.symbols_lookup", 8, _ALWAYS),
    *((f"region.frame[{kind}].{word}", 8, _ALWAYS) for kind in range(4) for word in ("first", "second")),
    ("region.ex", 8, _ALWAYS),
    ("region.ex_end", 8, _ALWAYS),
    ("nsyms", 4, _ALWAYS),
    ("id.p", 8, _ALWAYS),
    ("id.len", 4, _ALWAYS),
    ("dep.p", 8, _ALWAYS),
    ("dep.len", 4, _ALWAYS),
    ("xen_dep.p", 8, _XEN_DEPENDS),
    ("xen_dep.len", 4, _XEN_DEPENDS),
    ("load_funcs", 8, _IN_4_8),
    ("unload_funcs", 8, _IN_4_8),
    ("hooks.apply.pre", 8, _IN_4_14),
    ("hooks.apply.action", 8, _IN_4_14),
    ("hooks.apply.post", 8, _IN_4_14),
    ("hooks.revert.pre", 8, _IN_4_14),
    ("hooks.revert.action", 8, _IN_4_14),
    ("hooks.revert.post", 8, _IN_4_14),
    ("n_load_funcs", 4, _IN_4_8),
    ("n_unload_funcs", 4, _IN_4_8),
    ("name", NAME_SIZE, _ALWAYS),
    ("metadata.data", 8, _IN_4_14),
    ("metadata.len", 4, _IN_4_14),
)


class Field(NamedTuple):
    """Where in its structure a member is."""

    offset: int
    size: int


class Layout(NamedTuple):
    """One structure of one release."""

    members: Mapping[str, Field]
    size: int

    def packed(self, values: Mapping[str, int | bytes]) -> bytes:
        """Return the structure with the given values, negative ones in two's complement; gaps are zero."""
        out = bytearray(self.size)
        for name, (offset, size) in self.members.items():
            value = values[name]
            if isinstance(value, int):
                value = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            out[offset : offset + len(value)] = value
        return bytes(out)

    def changed(self, before: bytes, after: bytes) -> list[str]:
        """Return the members that differ; `padding` for what is in none."""
        left = [offset for offset in range(self.size) if before[offset] != after[offset]]
        names = []
        for name, (offset, size) in self.members.items():
            within = [place for place in left if offset <= place < offset + size]
            if within:
                names.append(name)
                left = [place for place in left if place not in within]
        return [*names, "padding"] if left else names

    def value(self, name: str, contents: bytes) -> int:
        """Return an unsigned member of a structure."""
        offset, size = self.members[name]
        return int.from_bytes(contents[offset : offset + size], "little")


def payload_layout(release: Release) -> Layout:
    """Return the layout of `struct payload`."""
    members: dict[str, Field] = {}
    offset = 0
    for name, size, (switch, value) in _PAYLOAD:
        if bool(getattr(release, switch)) is value:
            alignment = 1 if size == NAME_SIZE else size
            offset = _aligned(offset, alignment)
            members[name] = Field(offset, size)
            # id, dep, xen_dep and metadata are structures of a pointer and a length, padded to the pointer's alignment.
            offset = _aligned(offset + size, _ALIGNMENT if name.endswith(".len") else 1)
    return Layout(members, _aligned(offset, _ALIGNMENT))


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


LIST_HEAD = Layout({"next": Field(0, 8), "prev": Field(8, 8)}, 16)
SYMBOL = Layout({"name": Field(0, 8), "value": Field(8, 8), "size": Field(16, 4), "new_symbol": Field(20, 1)}, 24)
"""`struct livepatch_symbol`."""
FUNCTION_STATE = Layout({"patch_offset": Field(0, 4), "applied": Field(4, 4), "insn_buffer": Field(8, 31)}, 40)
"""`struct livepatch_fstate`."""
