"""From the mail of April 2016 to `vm_init_type`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from xsplice_loader.host import Host
from xsplice_loader.host.designs import DESIGNS
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.memory.address_map import default_vmap
from xsplice_loader.numbers import signed_bits
from xsplice_loader.releases import release
from xsplice_loader.teaching.blocks import Block, Heading, Items, Paragraph, Table
from xsplice_loader.teaching.places import hexadecimal
from xsplice_loader.teaching.topics.cases import SMALL, load, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DATES = (
    ("2012-11-22", "vmap, by Jan Beulich: a bitmap over one range of addresses"),
    ("2015-05-15", "vmalloc, by Roger Pau Monne, on top of it"),
    ("2016-03-14", "the draft vmalloc_cb, by Konrad Rzeszutek Wilk: a callback chooses the address"),
    ("2016-04-01", "the mail: how well does the loader's quadratic search work with many payloads?"),
    ("2016-04-26", "vm_init_type and vmalloc_xen, suggested by Jan Beulich: the bitmap, over a second range"),
    ("2016-04-29", "committed, and live patching with it"),
    ("2016-06-20", "Xen 4.7.0, the first release that has them"),
)
PAYLOADS = 4


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    rules = release("4.7.0")
    way = rules.xen_virt_start + rules.image_offset - default_vmap(rules)[0]
    yield Heading("From the mail of April 2016 to vm_init_type")
    yield Table(("date", "what came"), DATES)
    yield Paragraph(
        "Payloads have to be near Xen's text, because relocations have 32 bits, and vmalloc's area is not: in 4.7 it "
        f"begins {way:#x} bytes below, which takes {signed_bits(way)} signed bits. So the loader looked for an "
        "address itself, walking all payloads for every payload that it stepped over. Jan Beulich asked whether that "
        "would do for many, and for vmap to manage a second range instead. Konrad Rzeszutek Wilk weighed an array, a "
        "list and a tree, and sent a draft in which a callback of the caller's chooses the address and vmap keeps a "
        "list of them. What was committed at the end of the month needs none of this: the same bitmap code, for a "
        "second range that is registered at boot."
    )
    yield Heading("Draft and final, beside one another")
    yield Paragraph(f"{PAYLOADS} payloads of the same size, loaded one after the other by each design:")
    yield Table(
        ("design", "first at", "pages from one to the next", "verdicts"),
        tuple(_row(name) for name in DESIGNS if name != "default"),
    )
    yield Paragraph(
        "The draft keeps no page free between payloads, and knows an allocation by its exact first address only; the "
        "bitmap recognises any address in its first page:"
    )
    yield Items(tuple(map(_recognises, ("xen", "callback"))))
    yield Paragraph("Both put the payload where its code reaches Xen's, and that was the point:")
    yield Items(tuple(f"{name}: {result_of(SMALL, vmap=name).verdict}" for name in ("xen", "callback", "default")))


def _row(name: str) -> tuple[str, ...]:
    host = Host(Hypervisor.model(), vmap=name)
    bases, verdicts = [], []
    for number in range(PAYLOADS):
        # Each with an id and names of its own, or the second would be refused for that.
        source = SMALL.replace("build_id a1", f"build_id a{number + 1}")
        for label in ("replacement", "message_length", "message"):
            source = source.replace(label, f"{label}{number}")
        scene = load(source, f"payload{number}", host=host)
        verdicts.append(scene.result.verdict or "unread")
        if scene.result.regions is not None:
            bases.append(scene.result.regions[0].address)
    steps = {second - first for first, second in pairwise(bases)}
    return (
        name,
        hexadecimal(bases[0]),
        ", ".join(str(step // 4096) for step in sorted(steps)),
        ", ".join(sorted(set(verdicts))),
    )


def _recognises(name: str) -> str:
    vmap = DESIGNS[name].make(Hypervisor.model())
    address = vmap.reserve(range(3)) or 0
    first, behind = ("yes" if vmap.owns(asked) else "no" for asked in (address, address + 0x800))
    return f"{name}: the first address {first}, 0x800 bytes behind it {behind}"
