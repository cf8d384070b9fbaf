"""Hooks that make something of addresses on Xen's heap, which differ from one start of Xen to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from host.test_structures import Loaded, host_of, load, source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.results import Finding

RELEASE = "4.17.7"
FORMAT = """
        .section .rodata.str, "aMS", @progbits, 1
        format: .asciz "payload at %p\\n"
        same: .asciz "in state %d\\n"
        .text
"""


def loaded_with(code: str, kind: str = "preapply", more: str = "") -> Loaded:
    text = "\n".join([".text", "hook:", *code.split("; "), f".livepatch_hook {kind}, hook"])
    return load(host_of(RELEASE), "hooked", RELEASE, source({}, FORMAT + text + more))


def heap_findings(findings: Sequence[Finding]) -> list[str]:
    return [finding.message for finding in findings if finding.rule == "XSP248"]


@pytest.mark.parametrize(
    ("store", "offset", "size"),
    [
        ("mov %rdi, {}", 0, 8),
        ("mov %rdi, {}", 1, 8),
        ("mov %edi, {}", 0, 4),
        ("mov %di, {}", 3, 2),
        ("shr $13, %rdi; mov %dil, {}", 5, 1),
    ],
)
def test_what_is_stored_of_an_address_is_unknown(store: str, offset: int, size: int) -> None:
    code = f"{store.format(f'{offset}+kept(%rip)')}; xor %eax, %eax; ret"
    loaded = loaded_with(code, more="\n.bss\n.balign 8\nkept: .zero 16\n")
    done = loaded.host.apply("hooked")
    assert done.succeeded
    (message,) = heap_findings(done.findings)
    start = loaded.symbols["kept"]
    assert f"{start + offset:#018x}" in message
    found = loaded.host.state.memory.read_partly(start, 16)
    places = {place for place, is_unknown in enumerate(found.unknown) if is_unknown}
    # The bits above those for 1 TiB are the same on every host.
    assert places
    assert places <= set(range(offset, offset + size))
    assert min(places) == offset


def test_a_stored_address_that_is_followed_leaves_the_outcome_unknown() -> None:
    more = "\n.text\nlater: mov kept(%rip), %rax; mov (%rax), %eax; ret\n.livepatch_hook load, later\n"
    more = more.replace("; ", "\n") + ".bss\n.balign 8\nkept: .zero 8\n"
    done = loaded_with("mov %rdi, kept(%rip); xor %eax, %eax; ret", more=more).host.apply("hooked")
    assert done.rc is None
    assert "unknown" in (done.unknown or "")


def test_a_printed_address_is_a_line_that_is_unknown() -> None:
    code = "push %rbx; mov %rdi, %rbx; mov %rdi, %rsi; lea format(%rip), %rdi; xor %eax, %eax; call printk; "
    code += "mov (%rbx), %esi; lea same(%rip), %rdi; xor %eax, %eax; call printk; pop %rbx; xor %eax, %eax; ret"
    done = loaded_with(code).host.apply("hooked")
    assert done.succeeded
    assert [line for line in done.log if line is None or "livepatch" not in line] == [None, "in state 1"]
    (message,) = heap_findings(done.findings)
    assert "prints a line" in message


@pytest.mark.parametrize("bit", [4, 8, 11, 12, 13, 20, 31, 32, 39])
@pytest.mark.parametrize("pointer", ["mov %rdi, %rax", "mov 112(%rdi), %rax"])
def test_a_result_that_depends_on_an_address_is_unknown(pointer: str, bit: int) -> None:
    # struct payload itself, and its array of function states.
    more = '\n.text\n.globl new\n.type new, @function\nnew: ret\n.size new, 1\n.livepatch_func "strlen", new, 16\n'
    host = loaded_with(f"{pointer}; shr ${bit}, %rax; and $1, %eax; neg %eax; ret", more=more).host
    done = host.apply("hooked")
    assert (done.rc, done.crash) == (None, None)
    assert "returns a value that depends on where Xen's heap" in (done.unknown or "")
    assert host.list()[0].state == "CHECKED"


@pytest.mark.parametrize("kind", ["postapply", "load"])
def test_a_result_that_xen_does_not_look_at(kind: str) -> None:
    done = loaded_with("mov %rdi, %rax; ret", kind).host.apply("hooked")
    assert done.succeeded
    assert not heap_findings(done.findings)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("test $0x1000, %edi; jz 1f; ud2; 1:; xor %eax, %eax; ret", "ends in a way"),
        ("test $0x1000, %edi; jnz 1f; ud2; 1:; xor %eax, %eax; ret", "ends in a way"),
        ("shr $12, %rdi; and $1, %edi; lea kept(%rip), %rax; movb $1, (%rax,%rdi); xor %eax, %eax; ret", "an address"),
        ("mov %edi, 4(%rdi); xor %eax, %eax; ret", "a structure of Xen's"),
    ],
)
def test_what_cannot_be_made_unknown(code: str, why: str) -> None:
    done = loaded_with(code, more="\n.bss\nkept: .zero 8\n").host.apply("hooked")
    assert (done.rc, done.crash) == (None, None)
    assert why in (done.unknown or "")


@pytest.mark.parametrize(
    "code",
    [
        "mov 4(%rdi), %eax; ret",
        # An address in the direct map that is a constant.
        "movabs $0xffff830200000000, %rax; mov %rax, kept(%rip); xor %eax, %eax; ret",
        "mov (%rdi), %eax; mov %eax, kept(%rip); xor %eax, %eax; ret",
        # All structures are multiples of 16 on every host.
        "mov %edi, %eax; and $15, %eax; ret",
    ],
)
def test_what_does_not_depend_on_an_address(code: str) -> None:
    done = loaded_with(code, more="\n.bss\n.balign 8\nkept: .zero 8\n").host.apply("hooked")
    assert done.succeeded
    assert not heap_findings(done.findings)


@pytest.mark.parametrize(
    ("more", "store"),
    [
        ('\n.section .modinfo, "aw", @progbits\nkept: .asciz "a=12345678"\n', "mov %edi, kept(%rip)"),
        # struct payload of 4.17 has `funcs` at 104, and an entry its `new_addr` at 8.
        ('\n.livepatch_func "xen_extra_version", hook, 16, 0, 1\n', "mov 104(%rdi), %rcx; mov %edi, 8(%rcx)"),
    ],
    ids=["metadata", "function table"],
)
def test_an_address_in_what_xen_reads_of_a_payload_leaves_the_outcome_unknown(more: str, store: str) -> None:
    done = loaded_with(f"{store}; xor %eax, %eax; ret", more=more).host.apply("hooked")
    assert done.unknown is not None
    assert "stores an unknown value in what Xen reads of hooked" in done.unknown
