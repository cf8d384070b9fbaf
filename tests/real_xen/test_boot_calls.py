"""Alternative calls through every pointer that the real hypervisor has set at boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from real_xen.blocks import ALWAYS, boot_variables
from real_xen.case import payload_case
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_xen.bench import Bench

MAPPED = (".text", ".rodata")
"""Sections that stay mapped after boot; reading a target elsewhere may crash Xen."""
REST = """
        .text
        .type   new, @function
new:    ret
        .size   new, . - new
        .livepatch_func "hvm_set_cr4", new, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
"""


def calls(bench: Bench) -> Iterator[str]:
    memory = bench.hypervisor.at_run_time
    for variable in boot_variables(bench.hypervisor):
        for place in range(variable.address, variable.address + variable.size - 7, 8):
            pointer = memory.read(place, 8)
            if pointer is None:
                continue
            section = memory.section_at(int.from_bytes(pointer, "little"))
            if any(pointer) and (section is None or section.name not in MAPPED):
                continue
            yield f"""
        .text
.Lsite_{place:x}:
        call    *pointer_{place:x}(%rip)
        .set    pointer_{place:x}, {place:#x}
        .pushsection .altinstr_replacement, "ax", @progbits
.Lself_{place:x}:
        call    .Lself_{place:x}
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long   .Lsite_{place:x} - ., .Lself_{place:x} - .
        .short  {ALWAYS}
        .byte   6, 5, 0, 0
        .popsection
"""


def test_each_call_becomes_the_same_bytes(bench: Bench) -> None:
    blocks = list(calls(bench))
    assert len(blocks) > 100
    trial = bench.attempt(payload_case("calls", forge("".join(blocks) + REST, xen_build_id=bench.build_id)))
    assert not trial.comparison.differences
    assert not trial.comparison.excused
    (image,) = trial.foretold[0].images.values()
    assert not image.unknown
    # Direct calls to functions with ENDBR64, or UD2 in place of calls through NULL.
    assert image.contents.count(b"\xe8") + image.contents.count(b"\x0f\x0b\x0f\xff\xff\x90") >= len(blocks)
