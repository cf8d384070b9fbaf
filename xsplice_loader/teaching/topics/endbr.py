"""Why some jumps begin four bytes further on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.livepatch.patching import ENDBR64_SIZE, JUMP_SIZE
from xsplice_loader.releases import SET_A
from xsplice_loader.teaching.blocks import Block, Found, Heading, Listing, Paragraph, Table
from xsplice_loader.teaching.examples.recipe import REPLACEMENT, payload
from xsplice_loader.teaching.outcomes import verdict_text
from xsplice_loader.teaching.topics.cases import load, result_of
from xsplice_loader.teaching.walk_content import change_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_NMI = REPLACEMENT.replace('"xen_minor_version", replacement, 6', '"do_nmi_op", replacement, {size}')


def _patch(size: int) -> str:
    return payload(replacement=OF_NMI.format(size=size))


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    yield Heading("Why some jumps begin four bytes further on")
    yield Paragraph(
        "With indirect branch tracking a processor lets a call through a pointer land on one instruction only, "
        "ENDBR64, the bytes f3 0f 1e fa. A function that is reached through pointers begins with it. A live patch "
        "that wrote its jump over it would turn the next such call into a fault. So the ENDBR64 stays, and the jump "
        "goes behind it:"
    )
    new = load(_patch(41))
    for function in new.result.funcs:
        yield from change_of(function)
    yield Paragraph(
        f"Such a function needs room for {ENDBR64_SIZE} + {JUMP_SIZE} = {ENDBR64_SIZE + JUMP_SIZE} bytes. Releases "
        f"before {', '.join('.'.join(map(str, version)) for version in SET_A.first)} knew nothing of it, and wrote "
        "over it:"
    )
    rows = []
    for release in ("4.14.0", "4.14.5", "4.17.7"):
        result = result_of(_patch(41), release=release)
        (function,) = result.funcs
        shown = (function.patched or b"")[:10].hex(" ")
        rows.append((release, str(function.patch_offset), shown, verdict_text(result_of(_patch(8), release=release))))
    yield Table(("release", "offset", "after apply", "of 8 bytes only"), tuple(rows))
    yield Heading("NOPs")
    yield Paragraph(
        "A patch may also blot a call out with NOPs. Their number counts the ENDBR64 too; what is left when its four "
        "bytes are taken off is written. Of three bytes that leaves -1, which Xen takes for a very large number:"
    )
    short = load(payload(replacement='        .livepatch_func "do_nmi_op", 0, 41, 0, 3\n'))
    yield Found(short.result.findings[:1])
    died = short.host.apply("payload")
    yield Listing((f"apply: {'the machine dies' if died.crash is not None else 'done'} [{died.crash}]",))
