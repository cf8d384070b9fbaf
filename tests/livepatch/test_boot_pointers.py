"""Alternative calls through variables that Xen fills in while it boots, with and without captured memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypervisor.cores import core

from xsplice_loader import Host, Hypervisor
from xsplice_loader.emulation import run
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

    from known_hypervisors import Package

    from xsplice_loader import LoadResult

IDENTITY = """
        .livepatch_func "xen_minor_version", replacement, 6
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
"""
ALTERNATIVE = """
        .section .altinstr_replacement, "ax", @progbits
other:  {opcode} .
        .section .altinstructions, "a", @progbits
        .long site - ., other - .
        .short 93
        .byte {length}, 5, {padding}, 0
"""
ALT_CALL = """
        .section .alt_call_sites, "a", @progbits
        .long site - .
"""
CALL_SIZE = 6


def calling(pointer: str, *, table: str | None = None, opcode: str = "call", length: int = 6, padding: int = 0) -> str:
    if table is None:
        table = ALTERNATIVE.format(opcode=opcode, length=length, padding=padding)
    return f"""
        .text
        .balign 16
        .type replacement, @function
replacement:
        nop
site:   {opcode} *{pointer}(%rip)
        .zero {length + padding - CALL_SIZE}, 0x90
        ret
        .size replacement, . - replacement
{table}{IDENTITY}"""


def loaded(source: str, xen: Hypervisor, *, release: str | None = None) -> tuple[LoadResult, Host]:
    host = Host(xen, nops="k8", release=release)
    return host.upload("x", forge(source, xen_build_id=xen.build_id)), host


def address_of(xen: Hypervisor, name: bytes) -> int:
    address = xen.symbols.address_of(name)
    assert address is not None
    return address


def with_pointer(package: Package, tmp_path: Path, name: bytes, offset: int, target: int) -> Hypervisor:
    xen = Hypervisor.open(package.xen_syms)
    file = tmp_path / "memory.core"
    file.write_bytes(core({address_of(xen, name) + offset: target.to_bytes(8, "little")}, xen.build_id))
    return Hypervisor.open(package.xen_syms, memory=file)


def function_with(xen: Hypervisor, start: bytes) -> int:
    """Return a function of Xen's text whose first bytes are constant and are these."""
    return next(
        address
        for _, address, kind in xen.symbols
        if kind in "tT" and xen.text_start <= address < xen.text_end and xen.at_run_time.read(address, 4) == start
    )


@pytest.mark.parametrize("form", ["xen_syms", "boot_image", "efi"])
@pytest.mark.parametrize(
    ("release", "source", "section"),
    [
        (None, calling("genapic+24"), ".altinstructions"),
        (None, calling("genapic+24", opcode="jmp"), ".altinstructions"),
        (None, calling("genapic+24", padding=3), ".altinstructions"),
        ("4.21.0", calling("genapic+24", table=ALT_CALL), ".alt_call_sites"),
    ],
    ids=["call", "jump", "padded", "alt_call_sites"],
)
def test_an_unknown_pointer(package: Package, form: str, release: str | None, source: str, section: str) -> None:
    xen = Hypervisor.open(getattr(package, form))
    result, host = loaded(source, xen, release=release)
    assert result.verdict == "accepted"
    (finding,) = [finding for finding in result.findings if finding.rule == "XSP193"]
    assert (finding.severity, finding.section) == ("warning", section)
    for part in ("genapic+0x18", ".data.ro_after_init", "written during boot", "in replacement", "unknown"):
        assert part in finding.message
    assert "--memory" in str(finding.hint)
    # The bytes are as they were before that step: the indirect branch, its displacement relocated, and the padding.
    (unknown,) = result.unknown
    size = CALL_SIZE + (3 if "padded" in source or "6, 5, 3" in source else 0)
    assert (unknown.size, unknown.section, unknown.offset) == (size, ".text", 1)
    image, base = result.image, host.payloads[0].placement.base
    assert image is not None
    site = unknown.address
    assert image[site - base : site - base + 2] in (b"\xff\x15", b"\xff\x25")
    displacement = int.from_bytes(image[site - base + 2 : site - base + 6], "little", signed=True)
    assert site + CALL_SIZE + displacement == address_of(xen, b"genapic") + 24
    assert "genapic+0x18" in unknown.why
    # Their bytes are unknown: they can be neither read nor run.
    assert host.state.memory.read(site, 1) is None
    assert bytes(host.state.memory.read_partly(site - 1, size + 2).unknown) == b"\0" + b"\1" * size + b"\0"
    assert host.apply("x").succeeded
    done = run(host.state, "xen_minor_version")
    assert done.outcome == "stopped"
    assert f"{site:#018x}" in str(done.reason)


def test_the_window_counts_it_as_reaching_anywhere_in_the_image(package: Package) -> None:
    xen = Hypervisor.open(package.xen_syms)
    result, host = loaded(calling("genapic+24"), xen)
    window, end = result.window, result.unknown[0].address + 5 - host.payloads[0].placement.base
    assert window is not None
    assert window.lowest is not None
    assert window.highest is not None
    # A displacement counts from the end of the direct branch and has 32 signed bits.
    assert window.lowest == -(-(xen.image_end - end - (1 << 31) + 1) // 4096) * 4096
    assert window.highest == (xen.image_start - end + (1 << 31)) // 4096 * 4096
    assert {edge.limit.kind for edge in window.tightest} == {"alternative"}


@pytest.mark.parametrize("starts_with_endbr64", [True, False])
def test_a_captured_pointer(package: Package, tmp_path: Path, starts_with_endbr64: bool) -> None:
    xen = Hypervisor.open(package.xen_syms)
    start = (
        bytes.fromhex("f30f1efa")
        if starts_with_endbr64
        else xen.at_run_time.read(address_of(xen, b"xen_minor_version"), 4)
    )
    assert start is not None
    target = function_with(xen, start)
    captured = with_pointer(package, tmp_path, b"genapic", 24, target)
    result, host = loaded(calling("genapic+24"), captured)
    assert (result.verdict, result.unknown) == ("accepted", ())
    site = host.payloads[0].placement.base + 1
    code = host.state.memory.read(site, CALL_SIZE)
    assert code is not None
    assert (code[:1], code[5:]) == (b"\xe8", b"\x90")
    leads_to = site + 5 + int.from_bytes(code[1:5], "little", signed=True)
    assert leads_to == target + (4 if starts_with_endbr64 else 0)
    assert any("has no endbr64" in line for line in result.log) is not starts_with_endbr64


def test_a_captured_pointer_of_an_alternative_call(package: Package, tmp_path: Path) -> None:
    xen = Hypervisor.open(package.xen_syms)
    target = function_with(xen, bytes.fromhex("f30f1efa"))
    captured = with_pointer(package, tmp_path, b"genapic", 24, target)
    result, host = loaded(calling("genapic+24", table=ALT_CALL), captured, release="4.21.0")
    assert (result.verdict, result.unknown) == ("accepted", ())
    site = host.payloads[0].placement.base + 1
    code = host.state.memory.read(site, CALL_SIZE) or b""
    assert code[:2] == b"\x2e\xe8"
    assert site + CALL_SIZE + int.from_bytes(code[2:], "little", signed=True) == target + 4


@pytest.mark.parametrize(("release", "code"), [(None, "0f0b0fffff90"), ("4.21.0", "0f0b0f0b0f0b")])
def test_a_captured_null_pointer(package: Package, tmp_path: Path, release: str | None, code: str) -> None:
    captured = with_pointer(package, tmp_path, b"genapic", 24, 0)
    table = None if release is None else ALT_CALL
    result, host = loaded(calling("genapic+24", table=table), captured, release=release)
    assert (result.verdict, result.unknown) == ("accepted", ())
    assert host.state.memory.read(host.payloads[0].placement.base + 1, CALL_SIZE) == bytes.fromhex(code)


@pytest.mark.parametrize(("release", "table"), [(None, None), ("4.21.0", ALT_CALL)])
def test_a_captured_pointer_to_a_function_that_is_freed(
    package: Package, tmp_path: Path, release: str | None, table: str | None
) -> None:
    # Seen on 4.17.7: Xen reads the target to look for ENDBR64, and dies.
    xen = Hypervisor.open(package.xen_syms)
    captured = with_pointer(package, tmp_path, b"genapic", 16, address_of(xen, b"init_IRQ"))
    result, _ = loaded(calling("genapic+16", table=table), captured, release=release)
    assert (result.verdict, result.rule) == ("crash", "XSP188")
    (finding,) = result.findings
    for part in ("init_IRQ in .init.text, freed after boot", "in replacement"):
        assert part in finding.message


def test_before_endbr64_such_a_call_is_made(package: Package, tmp_path: Path) -> None:
    xen = Hypervisor.open(package.xen_syms)
    target = address_of(xen, b"init_IRQ")
    captured = with_pointer(package, tmp_path, b"genapic", 16, target)
    result, host = loaded(calling("genapic+16"), captured, release="4.16.0")
    assert result.verdict == "accepted"
    (finding,) = [finding for finding in result.findings if finding.rule == "XSP194"]
    assert "init_IRQ in .init.text, freed after boot" in finding.message
    site = host.payloads[0].placement.base + 1
    code = host.state.memory.read(site, 5) or b""
    assert site + 5 + int.from_bytes(code[1:], "little", signed=True) == target


@pytest.mark.parametrize(
    ("name", "offset", "said"),
    [
        (b"arch/x86/cpu/vpmu.c#vpmu_ops", 8, "vpmu_ops+0x8 in .init.data, freed after boot"),
        (b"init_IRQ", 0, "init_IRQ in .init.text, freed after boot"),
    ],
)
@pytest.mark.parametrize(("release", "table"), [(None, None), ("4.21.0", ALT_CALL)])
def test_a_pointer_in_freed_memory(
    package: Package, name: bytes, offset: int, said: str, release: str | None, table: str | None
) -> None:
    # Seen on 4.17.7: page fault at upload.
    xen = Hypervisor.open(package.xen_syms)
    distance = address_of(xen, name) + offset - address_of(xen, b"__init_begin")
    result, _ = loaded(calling(f"__init_begin+{distance}", table=table), xen, release=release)
    assert (result.verdict, result.rule) == ("crash", "XSP188")
    (finding,) = result.findings
    assert said in finding.message
    assert "in replacement" in finding.message


@pytest.mark.parametrize(("release", "table"), [(None, None), ("4.21.0", ALT_CALL)])
def test_a_variable_that_this_xen_does_not_have(package: Package, release: str | None, table: str | None) -> None:
    result, _ = loaded(calling("missing_ops+8", table=table), Hypervisor.open(package.xen_syms), release=release)
    assert (result.verdict, [finding.rule for finding in result.findings]) == ("refused", ["XSP071"])


def test_results_say_what_is_unknown_after_another_payload(package: Package) -> None:
    # A later alternative for the same site whose bytes are known makes them known again.
    source = calling("genapic+24").replace(
        "        .byte 6, 5, 0, 0\n",
        "        .byte 6, 5, 0, 0\n        .long site - ., nops - .\n        .short 93\n        .byte 6, 6, 0, 0\n"
        '        .section .altinstr_replacement, "ax", @progbits\nnops:   .zero 6, 0xcc\n',
    )
    result, host = loaded(source, Hypervisor.open(package.xen_syms))
    assert (result.verdict, result.unknown) == ("accepted", ())
    assert host.state.memory.read(host.payloads[0].placement.base + 1, CALL_SIZE) == b"\xcc" * CALL_SIZE


# What else is unknown where an unknown pointer is used --------------------------------------------------------------


HELPER = """
        .text
        .balign 16
        .type replacement, @function
replacement:
        jmp helper
        .size replacement, . - replacement
        .balign 16
        .globl helper
        .type helper, @function
helper: .zero {known}, 0x90
site:   call *genapic+24(%rip)
        .zero 10, 0x90
        ret
        .size helper, . - helper
"""
SECOND = """
        .text
        .balign 16
        .type second, @function
second: mov $1, %eax
        ret
        .size second, . - second
        .livepatch_func "helper", second, 16
        .livepatch_depends a1
        .livepatch_xen_depends xen
        .build_id b1
"""


@pytest.mark.parametrize(
    ("known", "applied"),
    [
        # The branch is unknown from the first byte on: whether it is an ENDBR64 now decides where the jump goes.
        (0, None),
        # A first byte that begins no ENDBR64 is enough.
        (1, 0),
        (2, 0),
        (4, 0),
        (9, 0),
    ],
)
def test_a_payload_over_unknown_bytes_of_another(package: Package, known: int, applied: int | None) -> None:
    xen = Hypervisor.open(package.xen_syms)
    source = HELPER.format(known=known) + ALTERNATIVE.format(opcode="call", length=6, padding=0) + IDENTITY
    first, host = loaded(source, xen)
    assert host.apply("x").succeeded
    second = host.upload("y", forge(SECOND, xen_build_id=xen.build_id))
    (function,) = second.funcs
    place, memory = function.old_addr, host.state.memory
    assert place == first.unknown[0].address - known
    before = "90" * known + "??" * 6 + "90" * 10
    assert memory.read_partly(place, known + 16).shown == before
    jump = (function.new_addr - place - 5).to_bytes(4, "little", signed=True)
    after = "??" * 9 + before[18:] if applied is None else "e9" + jump.hex() + before[10:]
    for _ in range(2):
        assert host.apply("y").succeeded
        assert memory.read_partly(place, known + 16).shown == after
        assert host.revert("y").succeeded
        assert memory.read_partly(place, known + 16).shown == before


@pytest.mark.parametrize(
    ("release", "replacement", "size"),
    [
        # The replacement is a site that an entry before it made unknown.
        (None, "site", 6),
        # Up to 4.17.3 nothing tests where a replacement is; this one is a variable of Xen's.
        ("4.16.0", "genapic", 6),
    ],
)
def test_a_replacement_that_is_unknown(package: Package, release: str | None, replacement: str, size: int) -> None:
    entries = ALTERNATIVE.format(opcode="call", length=6, padding=0)
    text = calling("genapic+24", table=entries if replacement == "site" else "")
    more = f"""
        .text
other_site:
        .zero 6, 0x90
        ret
        .section .altinstructions, "a", @progbits
        .long other_site - ., {replacement} - .
        .short 93
        .byte {size}, {size}, 0, 0
    """
    if replacement == "site":
        text = text.replace("site:   call", "        call")
        more += """
        .section .altinstr_replacement, "ax", @progbits
site:   call *genapic+24(%rip)
        """
    result, _ = loaded(text + more, Hypervisor.open(package.xen_syms), release=release)
    assert result.verdict == "accepted"
    (unknown,) = [part for part in result.unknown if part.section == ".text"]
    assert unknown.size == size
    assert "XSP193" in {finding.rule for finding in result.findings}


@pytest.mark.parametrize("kind", ["load", "preapply"])
def test_a_hook_whose_pointer_is_unknown(package: Package, kind: str) -> None:
    # Up to 4.17.3 nothing tests where a site is; this one is a table of hooks.
    table = f"""
        .section .livepatch.hooks.{kind}, "aw", @progbits
site:   .byte 0xff, 0x15
        .long genapic + 24 - . - 4
        .byte 0, 0
    """
    source = calling("genapic+24", table="").replace("site:   call", "        call")
    source += table + ALTERNATIVE.format(opcode="call", length=6, padding=0)
    result, host = loaded(source, Hypervisor.open(package.xen_syms), release="4.17.2")
    assert result.verdict == "accepted"
    applied = host.apply("x")
    assert applied.rc is None
    assert "unknown" in str(applied.unknown)


def test_a_sorted_table_with_unknown_entries(package: Package) -> None:
    table = """
        .section .ex_table, "a", @progbits
        .long replacement - ., replacement - .
site:   .byte 0xff, 0x15
        .long genapic + 24 - . - 4
        .byte 0, 0
    """
    source = calling("genapic+24", table="").replace("site:   call", "        call")
    source += table + ALTERNATIVE.format(opcode="call", length=6, padding=0)
    result, _ = loaded(source, Hypervisor.open(package.xen_syms), release="4.17.2")
    (unknown,) = result.unknown
    assert (unknown.section, unknown.offset, unknown.size) == (".ex_table", 0, 16)


def test_a_thunk_that_a_payload_replaced(package: Package) -> None:
    xen = Hypervisor.open(package.xen_syms)
    host = Host(xen, nops="k8")
    thunk = """
        .text
        .balign 16
        .type thunk, @function
thunk:  mov $7, %eax
        ret
        .size thunk, . - thunk
        .livepatch_func "__x86_indirect_thunk_rax", thunk, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id b1
    """
    caller = """
        .text
        .balign 16
        .type caller, @function
caller: lea after(%rip), %rax
        call __x86_indirect_thunk_rax@PLT
        ret
after:  mov $3, %eax
        ret
        .size caller, . - caller
        .livepatch_func "xen_minor_version", caller, 6
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id c1
    """
    on_top = thunk.replace("livepatch_depends xen", "livepatch_depends c1")
    for name, source in (("caller", caller), ("thunk", on_top)):
        assert host.upload(name, forge(source, xen_build_id=xen.build_id)).accepted
        assert host.apply(name).succeeded
        assert run(host.state, "xen_minor_version").value == (3 if name == "caller" else 7)


@pytest.mark.parametrize(("release", "table"), [(None, "alternatives"), ("4.21.0", "calls")])
def test_no_number_of_unknown_calls_makes_one_known(package: Package, release: str | None, table: str) -> None:
    count = 1300
    sites = "".join(f"site{number}:  call *genapic+24(%rip)\n" for number in range(count))
    entries = '        .section .alt_call_sites, "a", @progbits\n'
    entries += "".join(f"        .long site{number} - .\n" for number in range(count))
    if table == "alternatives":
        entries = '        .section .altinstr_replacement, "ax", @progbits\nother:  call .\n'
        entries += '        .section .altinstructions, "a", @progbits\n'
        entries += "".join(
            f"        .long site{number} - ., other - .\n        .short 93\n        .byte 6, 5, 0, 0\n"
            for number in range(count)
        )
    source = f"        .text\n        .type replacement, @function\nreplacement:\n        nop\n{sites}        ret\n"
    source += f"        .size replacement, . - replacement\n{entries}{IDENTITY}"
    result, host = loaded(source, Hypervisor.open(package.xen_syms), release=release)
    assert result.accepted
    start = host.payloads[0].placement.base + 1
    unknown = {place for part in result.unknown for place in range(part.address, part.address + part.size)}
    assert unknown.issuperset(range(start, start + count * CALL_SIZE))
