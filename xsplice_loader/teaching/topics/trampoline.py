"""How a running function is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.patching import JUMP_SIZE
from xsplice_loader.relocation.instructions import disassemble
from xsplice_loader.teaching.blocks import Block, Heading, Listing, Paragraph, Reach, Table
from xsplice_loader.teaching.outcomes import action_text
from xsplice_loader.teaching.topics.cases import SMALL, load
from xsplice_loader.teaching.walk_content import change_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.host import Host

SHOWN = 8


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    scene = load(SMALL)
    (function,) = scene.result.funcs
    way = function.new_addr - (function.old_addr + JUMP_SIZE)
    yield Heading("How a running function is replaced")
    yield Paragraph(
        "Others call the old function, from places that nobody lists. So the old function itself is changed: its first "
        f"{JUMP_SIZE} bytes become a jump to the new one, e9 and a distance of 32 bits. Whoever calls the old function "
        "comes to the new one, which returns to the caller. The distance counts from behind the jump:"
    )
    yield Listing((f"{function.new_addr:#x} - ({function.old_addr:#x} + {JUMP_SIZE}) = {way:#x}",))
    yield Reach(way)
    yield from change_of(function)
    yield Paragraph(
        "The bytes that were there are kept, for the way back. All of this happens while the rest of the machine "
        "stands still, so no processor is in the middle of those bytes. What stands at the old address, step by step:"
    )
    yield Table(("after", "came to", "bytes", "instruction"), tuple(_steps(scene.host, function.old_addr)))
    yield Heading("What has to be right for that")
    yield Paragraph(
        "The old function must have room: of one with fewer bytes the jump would run into the next function "
        "(XSP122). Old and new function must be within 2 GiB (XSP126). And the new function must be ready, all of "
        "its relocations carried out, which was done at the upload."
    )


def _steps(host: Host, address: int) -> Iterator[tuple[str, str, str, str]]:
    yield "upload", "done", *_at(host, address)
    for verb, act in (("apply", host.apply), ("revert", host.revert)):
        came_to = action_text(act("payload"))
        yield verb, came_to, *_at(host, address)


def _at(host: Host, address: int) -> tuple[str, str]:
    code = host.state.memory.read(address, SHOWN * 2) or b""
    found = disassemble(code, address)
    return " ".join(f"{byte:02x}" for byte in code[:SHOWN]), found[0] if found is not None else "none"
