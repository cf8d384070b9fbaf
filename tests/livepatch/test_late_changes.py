"""What changes while a payload loads, or later: Xen looks at memory when it looks.

Answers are those of the real ones.
"""

from __future__ import annotations

import struct

import pytest
from small_payloads import IDS, hook, payload

from xsplice_loader import Host, Hypervisor, LoadResult, load
from xsplice_loader.emulation import run_hook
from xsplice_loader.forge import forge

MODEL = Hypervisor.model()
IDENTITY = IDS.format(depends="xen", build_id="a1")
FUNCTIONS = """
        .text
        .type   strlen, @function
strlen: xor     %eax, %eax
        ret
        .size   strlen, . - strlen
.Lother:
        ret
        .section .rodata.name, "a", @progbits
.Lname: .asciz  "do_xen_version"
        .section .livepatch.funcs, "ax", @progbits
        .quad   .Lname
        .xen_alternative ".quad {before}", ".quad {after}", 2*32+29
        .quad   xen_extra_version
        .long   1, 16
        .byte   2
        .zero   71
"""


def noted(build_id: str) -> str:
    """Return the lines of a note, without its section."""
    size = len(bytes.fromhex(build_id))
    return f"""
        .long   4, {size}, 3
        .asciz  "GNU"
        .byte   {", ".join(f"{byte:#x}" for byte in bytes.fromhex(build_id))}
"""


@pytest.mark.parametrize("release", ["4.14.6", "4.17.7", "4.20.3"])
@pytest.mark.parametrize(("before", "after", "errno"), [("strlen", ".Lother", 17), (".Lother", "strlen", None)])
def test_names_are_those_of_new_functions_by_then(release: str, before: str, after: str, errno: int | None) -> None:
    """An alternative moves a new function's address; whether a name is taken is asked afterwards."""
    result = load(forge(FUNCTIONS.format(before=before, after=after) + IDENTITY), MODEL, release=release)
    assert (result.accepted, result.errno) == (errno is None, errno)


@pytest.mark.parametrize(("release", "errno"), [("4.14.6", 22), ("4.17.7", 22), ("4.20.3", None)])
def test_whom_it_is_for_may_change(release: str, errno: int | None) -> None:
    """Up to 4.17 it is compared after the alternatives, later before anything is loaded."""
    build_id = (MODEL.build_id or b"").hex()
    other = f"{int(build_id[:2], 16) ^ 1:#x}"
    first, rest = noted(build_id).rsplit(".byte", 1)[0], noted(build_id).rsplit(".byte", 1)[1].split(", ", 1)[1]
    source = f"""
        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .livepatch_func "xen_extra_version", .Lnew, 16
        .section .livepatch.xen_depends, "ax", @note
        {first}
        .xen_alternative ".byte 0x{build_id[:2]}", ".byte {other}", 2*32+29
        .byte   {rest}
        .livepatch_depends xen
        .build_id a1
"""
    result = load(forge(source), MODEL, release=release)
    assert (result.accepted, result.errno) == (errno is None, errno), result.findings


def test_build_ids_are_read_where_they_stand() -> None:
    """A hook that is run while the payload is applied changes its own note."""
    changes = """
        .text
.Lhook: movl    $0x41414141, .Lid(%rip)
        ret
        .section .livepatch.hooks.load, "aw", @progbits
        .quad   .Lhook
        .section .note.gnu.build-id, "aw", @note
        .long   4, 4, 3
        .asciz  "GNU"
.Lid:   .byte   0x61, 0x62, 0x63, 0x64
"""
    first = forge(payload_source(changes) + "        .livepatch_depends xen\n        .livepatch_xen_depends xen\n")
    host = Host(MODEL, hook_runner=run_hook)
    second = payload(function="do_xen_version", depends="61626364", build_id="b2")
    assert [host.upload(name, data).errno for name, data in (("first", first), ("second", second))] == [None, None]
    assert host.apply("first").succeeded
    assert host.apply("second").rc == -22
    taken = payload(function="do_xen_version", build_id="41414141")
    assert host.upload("third", taken).errno == 17
    assert "build-id=41414141" in host.dump()


def payload_source(more: str) -> str:
    return f"""
        .text
        .balign 16
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .livepatch_func "xen_extra_version", .Lnew, 16
{more}
"""


@pytest.mark.parametrize(
    ("release", "version", "verdict", "errno"),
    [
        ("4.17.7", 2, "crash", None),
        ("4.20.3", 0, "refused", 95),
        ("4.20.3", 2, "accepted", None),
    ],
)
def test_functions_that_are_not_loaded(release: str, version: int, verdict: str, errno: int | None) -> None:
    """Where Xen finds them in the upload's buffer, it tests them there, unrelocated."""
    old = MODEL.symbols.address_of(b"xen_extra_version") or 0
    source = f"""
        .text
        ret
        .section .livepatch.funcs, "", @progbits
        .quad   0, {old + 4096:#x}, {old:#x}
        .long   16, 16
        .byte   {version}
        .zero   71
"""
    host = Host(MODEL, release=release)
    result = host.upload("functions", forge(source + IDENTITY))
    assert (result.verdict, result.errno) == (verdict, errno), result.findings
    if result.accepted:
        assert host.apply("functions").crash is not None


@pytest.mark.parametrize(("release", "errno"), [("4.17.7", 22), ("4.20.3", None)])
def test_a_note_of_nobits_is_read_in_the_file(release: str, errno: int | None) -> None:
    """The early look at `.livepatch.xen_depends` goes to sh_offset, whatever the section's type."""
    data = bytearray(payload())
    note = _header_of(data, ".livepatch.xen_depends")
    struct.pack_into("<I", data, note + 4, 8)
    result: LoadResult = load(bytes(data), MODEL, release=release)
    assert (result.accepted, result.errno) == (errno is None, errno), result.findings


def _header_of(data: bytearray, name: str) -> int:
    """Return the offset of a section's header."""
    table, size, count, names = (
        struct.unpack_from(form, data, offset)[0] for form, offset in (("<Q", 40), ("<H", 58), ("<H", 60), ("<H", 62))
    )
    strings = struct.unpack_from("<Q", data, table + names * size + 24)[0]
    for header in range(table, table + count * size, size):
        start = strings + struct.unpack_from("<I", data, header)[0]
        if bytes(data[start : data.index(0, start)]).decode() == name:
            return header
    raise KeyError(name)


def test_a_hook_that_sets_no_result_returns_where_it_is() -> None:
    """It is called through a pointer in RAX; seen on 4.14.6, 4.17.7 and 4.20.4."""
    host = Host(MODEL, hook_runner=run_hook)
    host.upload("a", payload(hook("apply"))).raise_for_verdict()
    pointer = host.payloads[0].hooks.single(".livepatch.hooks.apply", host.state.memory) or 0
    low = (pointer & 0xFFFF_FFFF).to_bytes(4, "little")
    assert host.apply("a").payload_rc == int.from_bytes(low, "little", signed=True)


def test_a_level_at_the_beginning_of_a_line_is_not_printed() -> None:
    """Xen's console takes `<0>` to `<3>` where a line begins for the line's level."""
    source = payload_source('        .data\n        .quad   "a\\n<0>b"\n')
    result = load(forge(source + IDENTITY), MODEL)
    assert result.xen_message == "Unknown symbol: a\nb"
