"""How to read a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules import RULES
from xsplice_loader.rules.errnos import errno_text
from xsplice_loader.teaching.blocks import Block, Found, Heading, Items, Paragraph, Table
from xsplice_loader.teaching.outcomes import upload_outcome
from xsplice_loader.teaching.topics.cases import SMALL, load

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR = (
    SMALL.replace("        ret\n", "        lea     far(%rip), %rax\n        ret\n", 1)
    + "        .set    far, 0xffff830000000000\n"
)
"""It refers to an absolute address in the directmap."""


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    scene = load(FAR)
    result = scene.result
    deciding = next(finding for finding in result.findings if finding.severity == "error")
    rule = RULES[deciding.rule]
    shared = sum(other.errno == "EINVAL" for other in RULES.values())
    yield Heading("How to read a refusal")
    yield Paragraph("On a host, xen-livepatch says this much, and Xen's console one line:")
    yield Paragraph(f"Error {result.errno}: {errno_text(result.errno or 0)}")
    yield from upload_outcome(result)
    yield Paragraph("What is in that line, and what is not:")
    yield Items(
        (
            f"The errno, {result.errno_name}, tells the kind of mistake. Many rules share one: EINVAL stands for "
            f"{shared}.",
            f"The number, {deciding.index}, counts the entries of that relocation section from 0, not in the whole "
            "file.",
            f"The section is the one that was being changed, {deciding.section}, and not where the symbol is.",
            "The symbol, the addresses and the distance are not in it. Xen stops there, and says nothing of what it "
            "would have found after.",
        )
    )
    yield Paragraph("The same with all that Xen knew when it refused:")
    yield Found((deciding,))
    yield Heading("Which questions to ask")
    yield Table(
        ("ask", "here"),
        (
            ("Which step, and which rule?", f"{result.stage}, {rule.id}: {rule.title}"),
            ("How far is it off?", f"{deciding.bits} signed bits are needed, the field has 32"),
            ("What is behind the symbol?", f"{deciding.symbol}, {deciding.s or 0:#018x}"),
            ("What kind of mistake is it?", f"{deciding.cause}: {deciding.hint}"),
            ("Does it fit anywhere?", _window_text(scene.result.window is not None and scene.result.window.lowest)),
        ),
    )
    yield Paragraph(
        "xsplice-explain --reloc takes one relocation apart; xsplice-load --window says where all would fit."
    )


def _window_text(lowest: int | bool | None) -> str:
    return f"yes, from {lowest:#018x} on" if lowest else "no: no base has all of it in reach"
