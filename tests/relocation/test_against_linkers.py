"""The same object at the same addresses: what GNU ld and lld write into it, this engine writes too."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from forge_readback import require
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

    from xsplice_loader import LoadResult

MODEL = Hypervisor.model()
XEN = ("strlen", "memcpy", "printk", "xen_extra_version", "system_state")

HEAD = """
    .livepatch_xen_depends xen
    .livepatch_depends xen
    .build_id 00112233445566778899aabbccddeeff00112233
    .section .livepatch.hooks.load, "a", @progbits
    .quad 0
    .data
one: .quad 1
two: .quad 2
    .text
"""
LINES = (
    "call {xen}",
    "jmp {xen}",
    "lea {xen}(%rip), %rax",
    "mov {xen}+4(%rip), %rbx",
    "cmpl $7, {xen}(%rip)",
    "movabs ${xen}, %rax",
    "lea one+8(%rip), %rcx",
    "movq %rdx, two(%rip)",
    "call second",
    "nop",
    ".quad {xen}-3",
    ".long one - .",
)
lines = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(XEN)), min_size=1, max_size=30)


def linked(program: str, data: bytes, result: LoadResult, folder: Path) -> dict[str, bytes]:
    """Link `data` so that every section lies where the loader put it, and return the sections' bytes."""
    source, script, out = folder / "payload.o", folder / "payload.lds", folder / "linked"
    source.write_bytes(data)
    known = [f"{name} = {MODEL.symbols.address_of(name.encode()):#x};" for name in XEN]
    places = [
        f"  {s.name} {s.address:#x} : {{ *({s.name}) }}" for s in sorted(result.sections, key=lambda s: s.address)
    ]
    script.write_text("\n".join([*known, "SECTIONS {", *places, "}"]))
    subprocess.run([program, "-T", script, "-e", "0", "-o", out, source], check=True, capture_output=True)
    contents = {}
    for section in (".text", ".data"):
        raw = folder / "raw"
        subprocess.run(["objcopy", "-O", "binary", "-j", section, out, raw], check=True)
        contents[section] = raw.read_bytes()
    return contents


@pytest.mark.parametrize("name", ["ld.bfd", "ld.lld"])
@given(body=lines)
@settings(max_examples=25, deadline=None)
def test_same_bytes(name: str, body: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    program = require(name)
    source = HEAD + "\n".join(f"    {line.format(xen=xen)}" for line, xen in body)
    source += '\n    .section .text.second, "ax", @progbits\n    .globl second\nsecond: ret\n'
    data = forge(source)
    result = Host(MODEL).upload("payload", data)
    assert result.accepted, result.findings
    assert result.image is not None
    assert result.regions is not None
    contents = linked(program, data, result, tmp_path_factory.mktemp("link"))
    for section in result.sections:
        if section.name in contents and section.size:
            start = section.address - result.regions[0].address
            assert result.image[start : start + section.size] == contents[section.name]
