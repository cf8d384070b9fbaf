"""Where the addresses behind names come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.host import Host
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.teaching.blocks import Block, Found, Heading, Paragraph
from xsplice_loader.teaching.examples.recipe import IDENTITY, REPLACEMENT, payload
from xsplice_loader.teaching.outcomes import upload_outcome
from xsplice_loader.teaching.topics.cases import SMALL, load
from xsplice_loader.teaching.walk_addresses import tell_resolution

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPER = payload("        .text\n        .globl helper\nhelper:\n        ret\n")
USER = payload(
    "        .text\ncaller:\n        call helper\n        ret\n",
    replacement=REPLACEMENT.replace("replacement", "second"),
    identity=IDENTITY.replace("build_id a1", "build_id b2"),
)
STATIC = SMALL.replace("call    strlen", "call    pack_version")


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    yield Heading("Where the addresses behind names come from")
    yield Paragraph(
        "A symbol of the payload's own has an address once its section has one. An undefined one is looked up by its "
        "name: in Xen's own table of symbols, which every build carries inside, and then in the payloads that were "
        "loaded before, in the order of their uploads. Neither type nor binding count; a weak symbol must be found "
        "too."
    )
    host = Host(Hypervisor.model())
    load(HELPER, "base", host=host)
    yield from tell_resolution(load(USER, "on-top", host=host))
    yield Heading("Static names")
    yield Paragraph(
        "Two files may each have a static function of one name, so Xen's table puts the file before it: "
        "common/kernel.c#pack_version. Who asks for pack_version alone does not find it:"
    )
    static = load(STATIC)
    yield from upload_outcome(static.result)
    yield Found(static.result.findings[:1])
    yield Heading("Names that are taken")
    yield Paragraph(
        "What a payload brings along can be linked to by later ones, so its names must be new. Only a new function "
        "may have the name of the old one. A helper called like one of Xen's:"
    )
    taken = load(payload("        .text\n        .globl strlen\nstrlen:\n        ret\n"))
    yield from upload_outcome(taken.result)
    yield Found(taken.result.findings[:1])
