"""One file, many releases, other answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.releases import release, turning_points
from xsplice_loader.teaching.blocks import Block, Heading, Paragraph, Table
from xsplice_loader.teaching.examples.recipe import CALL, DEPENDS, OLD_REPLACEMENT, REPLACEMENT, payload
from xsplice_loader.teaching.outcomes import verdict_text
from xsplice_loader.teaching.topics.cases import result_of
from xsplice_loader.teaching.walk import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = ("4.7.0", "4.8.0", "4.10.0", "4.13.0", "4.14.0", "4.14.5", "4.17.7", "4.18.3", "4.18.4", "4.20.3", "4.22.0")
_WRONG_ID = f"{DEPENDS}        .livepatch_xen_depends 00112233\n        .build_id a1\n"


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    yield Heading("One file, many releases, other answers")
    yield Paragraph(
        "Rules came and went, and fixes were copied back into stable branches at point releases of their own. So "
        "which rules hold is a question of the exact release: among those that this program knows are "
        f"{len(turning_points())} at which something changed. A payload with three mistakes: it was made for another "
        "build, its code holds the distance to a label in an empty section, and a relocation names symbol 0."
    )
    body = '        .section .empty, "a", @progbits\nnothing:\n        .text\n        lea nothing(%rip), %rax\n' + CALL
    new, old = (
        payload(body, "rela .rela.text 1 symbol 0", identity=_WRONG_ID, replacement=replacement)
        for replacement in (REPLACEMENT, OLD_REPLACEMENT)
    )
    yield Table(
        ("release", "verdict: the first mistake that it finds"),
        tuple(
            (name, verdict_text(result_of(old if release(name).function_version == 1 else new, release=name)))
            for name in SHOWN
        ),
    )
    yield Heading("The order of the steps")
    yield Paragraph("They are the same in all releases but for one: when the payload's wish for a Xen is looked at.")
    yield Table(
        ("release", "steps"),
        tuple((name, ", ".join(steps_of(release(name)))) for name in ("4.13.0", "4.17.7", "4.20.3")),
    )
