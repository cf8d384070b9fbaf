"""Every relocated operand, decoded by capstone where it stands in memory, leads to S + A."""

from __future__ import annotations

from typing import Any

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from capstone.x86 import X86_OP_IMM, X86_OP_MEM
from hypothesis import given
from hypothesis import strategies as st

from xsplice_loader import Hypervisor, load
from xsplice_loader.forge import forge

MODEL = Hypervisor.model()
XEN = ("strlen", "memcpy", "printk", "xen_extra_version", "system_state")
HEAD = """
    .livepatch_xen_depends xen
    .livepatch_depends xen
    .build_id 00112233445566778899aabbccddeeff00112233
    .section .livepatch.hooks.load, "a", @progbits
    .quad 0
    .data
    .zero 24
own: .quad 1, 2, 3
    .text
"""
FORMS = (
    "call {target}",
    "jmp {target}",
    "lea {target}(%rip), %rax",
    "mov {target}(%rip), %rbx",
    "mov %r9, {target}(%rip)",
    "cmpl $0x12345678, {target}(%rip)",
    "movb $7, {target}(%rip)",
    "addq $-3, {target}(%rip)",
    "movabs ${target}, %rax",
)
lines = st.lists(
    st.tuples(st.sampled_from(FORMS), st.sampled_from((*XEN, "own")), st.integers(-8, 8)), min_size=1, max_size=25
)


def aim(instruction: Any) -> int:
    """Return the address that an instruction's operand means."""
    for operand in instruction.operands:
        if operand.type == X86_OP_MEM:
            return int(instruction.address + instruction.size + operand.mem.disp)
    (aim,) = (operand.imm for operand in instruction.operands if operand.type == X86_OP_IMM)
    return int(aim % (1 << 64))


@given(body=lines)
def test_operands_lead_to_s_plus_a(body: list[tuple[str, str, int]]) -> None:
    text = "\n".join(form.format(target=f"{name}{offset:+}" if offset else name) for form, name, offset in body)
    result = load(forge(f"{HEAD}{text}\n"), MODEL)
    result.raise_for_verdict()
    assert result.regions is not None
    places = {section.name: section.address for section in result.sections}
    symbols = {name: MODEL.symbols.address_of(name.encode()) for name in XEN} | {"own": places[".data"] + 24}
    region = result.regions[0]
    decoder: Any = Cs(CS_ARCH_X86, CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    read = list(decoder.disasm((result.image or b"")[: region.size], region.address))
    assert [aim(instruction) for instruction in read] == [(symbols[name] or 0) + offset for _, name, offset in body]
