"""What does not fit 32 bits, and where it would lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.numbers import INT32, signed, signed_bits, size_text
from xsplice_loader.teaching.anatomy import anatomy
from xsplice_loader.teaching.blocks import Bits, Block, Found, Heading, Paragraph, Reach, Table
from xsplice_loader.teaching.outcomes import upload_outcome, verdict_text
from xsplice_loader.teaching.topics.cases import CALL, SMALL, load, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EDGES = (INT32[1] - 1, INT32[1], INT32[0], INT32[0] - 1)


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    yield Heading("What does not fit 32 bits")
    yield Paragraph(
        "Calls, jumps and references to data hold a distance in 32 bits, the highest of which is the sign. That is "
        f"{INT32[0]:,} to {INT32[1] - 1:,}: 2 GiB back and 2 GiB forth, less a byte. The processor makes 64 bits of "
        "them by repeating the sign, so the discarded half must be nothing but the sign repeated. At the edges:"
    )
    yield Table(
        ("value", "signed bits", "kept as 32", "fits"),
        tuple(
            (
                f"{value:,}",
                str(signed_bits(value)),
                f"{signed(value, 32):,}",
                "yes" if INT32[0] <= value < INT32[1] else "no",
            )
            for value in EDGES
        ),
    )
    near, far = load(SMALL), load(SMALL, vmap="default")
    yield Heading("The same payload in two places")
    yield Paragraph("Next to Xen's text, where the range for payloads is:")
    yield from upload_outcome(near.result)
    call = anatomy(near, ".text", CALL)
    yield Reach(call.value or 0)
    yield Paragraph("In Xen's ordinary vmap area, below:")
    yield from upload_outcome(far.result)
    call = anatomy(far, ".text", CALL)
    yield Reach(call.value or 0)
    yield Bits(call.value or 0, 32)
    yield Paragraph(
        f"{call.symbol} is {size_text(call.value or 0)} away. Had Xen stored the lower half without a look, the call "
        f"would lead to {call.cut_target or 0:#018x}: {call.cut_target_lies}. So it looks, and refuses with "
        "EOVERFLOW. Code and data of the payload itself are as near as ever, and not all relocations fail:"
    )
    yield Found(tuple(finding for finding in far.result.findings if finding.section == ".text")[:1])
    yield Heading("What else overflows")
    yield Paragraph(
        "A jump is put over the old function, and it too holds 32 bits: a payload that needs nothing of Xen's is "
        "refused all the same, at another step."
    )
    alone = result_of(SMALL.replace("        call    strlen\n", ""), vmap="default")
    yield Table(
        ("payload", "in the vmap area"), (("with the call", verdict_text(far.result)), ("without", verdict_text(alone)))
    )
