"""Payloads made to hurt: no exception, no unbounded time or memory, and no finding that is not true."""

from __future__ import annotations

import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_xen.elf_fields import form_of
from records import recorded_hypervisor, single_uploads

from xsplice_loader import Host, Hypervisor, load
from xsplice_loader.emulation import run_hook
from xsplice_loader.forge import forge
from xsplice_loader.memory.address_space import MemoryFault
from xsplice_loader.relocation.listing import list_relocations

if TYPE_CHECKING:
    from xsplice_loader import LoadResult

MODEL = Hypervisor.model()
NOTES = """
    .livepatch_depends xen
    .livepatch_xen_depends xen
    .build_id 00112233445566778899aabbccddeeff00112233
"""
HOOK = '    .section .livepatch.hooks.load, "a", @progbits\n    .quad 0\n'
TEXT = "    .text\nfresh:\n    ret\n    .size fresh, 1\n"


def upload(source: str, release: str = "4.17.7", **options: object) -> LoadResult:
    return load(forge(source), MODEL, release=release, **options)  # type: ignore[arg-type]


def rules(result: LoadResult) -> list[str]:
    return [finding.rule for finding in result.findings]


def test_a_function_that_a_variable_of_xen_names_is_warned_of() -> None:
    """The key x of the running 4.17 printed the number that `system_state` held by then, as a string."""
    hypervisor = recorded_hypervisor("4.17.7")
    assert hypervisor.build_id is not None
    source = NOTES.replace("depends xen", f"depends {hypervisor.build_id.hex()}") + TEXT
    source += f'    .livepatch_func "nothing", fresh, 16, {hypervisor.text_start:#x}\n'
    source += "    .pushsection .livepatch.funcs\n    .reloc 0, R_X86_64_64, system_state\n    .popsection\n"
    host = Host(hypervisor)
    result = host.upload("p", forge(source))
    assert result.accepted
    assert rules(result) == ["XSP207"]
    assert any(line.startswith("    ? patch ") for line in host.dump())


def test_nops_of_four_gigabytes_are_not_made() -> None:
    tracemalloc.start()
    result = upload(NOTES + '    .livepatch_func "xen_extra_version", 0, 16, 0, 0xffffffff\n')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result.errno_name, result.stage) == ("EOPNOTSUPP", "prepare")
    assert peak < 64 << 20


@pytest.mark.parametrize("release", ["4.7.0", "4.11.0", "4.17.7", "4.20.3"])
def test_sizes_that_wrap_to_few_pages_crash_xen(release: str) -> None:
    source = NOTES + HOOK + TEXT
    source += '    .section .text.b, "ax", @progbits\n    .zero 16\n    .data\n    .quad 1\n'
    source += '    .section .data.b, "aw", @progbits\n    .zero 16\n'
    source += "".join(f"#! damage: section {name} addralign 0x8000000000000000\n" for name in (".text.b", ".data.b"))
    result = upload(source, release)
    assert (result.verdict, result.stage) == ("crash", "placement")


def test_spill_over_a_note_is_not_read_as_a_note() -> None:
    source = '    .section .rodata.a, "a", @progbits\n    .zero 5000\n' + NOTES + HOOK + TEXT
    source += '    .section .rodata.z, "a", @progbits\n    .byte 1\n#! damage: section .rodata.z addralign 0\n'
    # One page of text, then 5000 bytes into a region whose size started again: they end behind its only page.
    result = upload(source)
    assert (result.verdict, result.stage) == ("crash", "placement")


def test_names_of_a_megabyte_cost_no_gigabyte() -> None:
    name = "n" * 100_000
    source = NOTES + HOOK + TEXT + "".join(f'    .long "{name}" - .\n' for _ in range(30))
    tracemalloc.start()
    result = upload(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result.errno_name, result.stage) == ("ENOENT", "resolution")
    assert len(result.findings[0].symbol or "") <= 1025
    assert peak < 64 << 20


@pytest.mark.parametrize("changes_itself", [False, True])
def test_thousands_of_long_names_in_few_bytes_cost_little(changes_itself: bool) -> None:
    """Each of 5000 undefined symbols has another 4 KiB of one string as its name."""
    count, letters, names = 5000, 20_000, b"\0.symtab\0.strtab\0.shstrtab\0.text\0"
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", 1 + 3 * i, 0x10, 0, 0, 0, 0) for i in range(count))
    strings = b"\0" + b"A" * letters + b"\0"
    strings_at = 64 + len(symbols)
    names_at = strings_at + len(strings)
    headers_at = names_at + len(names)
    # Where .text has bytes of the symbol table, Xen's values change what is read later.
    text = (64 + 24, 16) if changes_itself else (names_at, 16)
    rows = (
        (0,) * 10,
        (1, 2, 0, 0, 64, len(symbols), 2, 1, 8, 24),
        (9, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
        (17, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
        (27, 1, 6, 0, *text, 0, 0, 1, 0),
    )
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, headers_at, 0, 64, 0, 0, 64, len(rows), 3)
    data = header + symbols + strings + names + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows)
    tracemalloc.start()
    result = load(data, MODEL, release="4.14.6")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    unknown = [finding for finding in result.findings if finding.rule == "XSP071"]
    assert len(unknown) == count
    # For each a message, a name and a line of Xen's log with a kilobyte of it, and its own kilobyte.
    assert peak < 8192 * count


def test_entry_0_of_the_symbol_table_is_never_read() -> None:
    source = NOTES + HOOK + TEXT + "    call strlen\n"
    source += "#! damage: symbol [0] name 0x7fffffff\n#! damage: rela .rela.text 0 symbol 0\n"
    result = upload(source)
    assert (result.errno_name, result.stage) == ("EOPNOTSUPP", "relocation")
    assert result.trace is not None
    assert [item.symbol for item in list_relocations(result.trace, MODEL.release)] == ["symbol 0"]


def test_a_writable_and_executable_section_is_the_only_finding() -> None:
    source = NOTES + '    .section .text.wx, "awx", @progbits\nfresh:\n    call strlen\n    ret\n    .size fresh, 6\n'
    source += '    .livepatch_func "xen_extra_version", fresh, 16\n'
    assert rules(upload(source)) == ["XSP060"]


def test_a_table_that_was_not_read_proves_no_duplicate() -> None:
    source = (
        NOTES + "    .text\n    .globl xen_extra_version\nxen_extra_version:\n    ret\n    .size xen_extra_version, 1\n"
    )
    source += '    .livepatch_func "xen_extra_version", xen_extra_version, 16\n'
    result = upload(source, "4.13.0")
    assert result.errno_name == "EINVAL"
    assert "XSP170" not in rules(result)


def test_a_refused_field_proves_nothing_about_its_entry() -> None:
    source = NOTES + TEXT + '    .livepatch_func "xen_extra_version", fresh, 16\n'
    source += "#! damage: rela .rela.livepatch.funcs 1 type 10\n"
    result = upload(source)
    assert rules(result) == ["XSP087"]


def test_nothing_is_stored_for_none_so_its_offset_does_not_matter() -> None:
    source = NOTES + HOOK + TEXT + "    call no_such_function\n"
    source += "#! damage: rela .rela.text 0 type 0\n#! damage: rela .rela.text 0 offset 0x999999\n"
    assert rules(upload(source)) == ["XSP071"]


def test_place_twice_takes_nothing_from_the_first() -> None:
    host = Host(MODEL, place=0xFFFF82D050000000)
    good = forge(NOTES + HOOK + TEXT)
    first = host.upload("a", good)
    assert first.accepted
    before = host.state.memory.read(0xFFFF82D050000000, 64)
    assert not host.upload("b", good).accepted
    assert host.state.memory.read(0xFFFF82D050000000, 64) == before


def test_a_table_of_zeros_is_not_looked_at_a_million_times() -> None:
    source = NOTES + TEXT + '    .section .livepatch.funcs, "aw", @nobits\n    .zero 6400000\n'
    result = upload(source, "4.7.0")
    assert result.errno_name == "EOPNOTSUPP"
    assert len(result.findings) < 5000


def test_a_wild_name_is_told_from_no_name() -> None:
    source = NOTES + TEXT + '    .livepatch_func "nothing", fresh, 16\n'
    null = upload(source + "#! damage: rela .rela.livepatch.funcs 0 type 0\n")
    wild = upload(source + "#! damage: rela .rela.livepatch.funcs 0 addend 0x7f00000000\n")
    for result, reason in ((null, "NULL pointer"), (wild, "unmapped memory")):
        assert (result.verdict, result.rule) == ("crash", "XSP128")
        assert reason in result.findings[0].message


def test_a_name_in_the_first_page_prints_as_null() -> None:
    """As seen on Debian's 4.14.6, 4.17.7 and 4.20.4: Xen's printk follows no pointer below 4096."""
    source = NOTES + TEXT + f'    .livepatch_func "nothing", fresh, 16, {MODEL.text_start:#x}\n'
    source += "#! damage: rela .rela.livepatch.funcs 0 type 0\n"
    for pointer, name in ((0, "<NULL>"), (4095, "<NULL>"), (4096, None)):
        host = Host(MODEL)
        damage = f"#! damage: bytes .livepatch.funcs 0 {pointer.to_bytes(8, 'little').hex()}\n"
        result = host.upload("p", forge(source + damage))
        assert result.accepted
        assert ("XSP207" in rules(result)) is (name is None)
        if name is None:
            with pytest.raises(MemoryFault):
                host.dump()
        else:
            assert any(line.startswith(f"    {name} patch ") for line in host.dump())


def test_a_function_without_name_that_a_hook_forgets() -> None:
    """As seen on Debian's 4.17.7."""
    source = NOTES + TEXT + f'    .livepatch_func "nothing", fresh, 16, {MODEL.text_start:#x}\n'
    source += "    .text\nforgets:\n    xor %eax, %eax\n    ret\n"
    source += '    .section .livepatch.hooks.apply, "a", @progbits\n    .quad forgets\n'
    host = Host(MODEL, release="4.17.7", hook_runner=run_hook)
    assert host.upload("p", forge(source + "#! damage: rela .rela.livepatch.funcs 0 type 0\n")).accepted
    log = host.apply("p").log
    assert any((line or "").endswith("a function: 'noname' with inconsistent applied state.") for line in log)


def test_a_stored_value_that_wraps() -> None:
    """As seen on Debian's 4.14.6, 4.17.7 and 4.20.4: accepted. The names share the symbol table's bytes."""
    source = NOTES + TEXT + '    .livepatch_func "xen_extra_version", fresh, 16\n'
    form = form_of(forge(source))
    table = form.sections[form.named(".symtab") or 0]
    source += f"#! damage: section .strtab offset {table.offset}\n#! damage: section .strtab size 24\n"
    source += f"#! damage: symbol [1] value {(1 << 64) - 8}\n"
    assert upload(source).accepted


@pytest.mark.parametrize(
    ("damage", "errno", "message"),
    [("", "ENOMEM", "memory for symbols"), ("#! damage: section .shstrtab type 0\n", "EINVAL", "table is corrupted")],
)
def test_names_of_sections_come_before_records_of_symbols(damage: str, errno: str, message: str) -> None:
    """As seen on Debian's 4.14.6, 4.17.7 and 4.20.4."""
    source = NOTES + TEXT + f"#! damage: section .symtab size {(1 << 64) - 0x88}\n"
    result = upload(source + damage)
    assert (result.errno_name, message in (result.xen_message or "")) == (errno, True)


def test_a_stack_of_many_symbols() -> None:
    host = Host(MODEL)
    labels = "".join(f"    .globl helper_{index}\nhelper_{index}:\n    nop\n" for index in range(3000))
    one = forge(NOTES + HOOK + "    .text\n" + labels)
    two = forge(NOTES.replace("0011", "0022", 1) + HOOK + "    .text\n" + labels.replace("helper_", "other_"))
    assert host.upload("one", one).accepted
    assert host.upload("two", two).accepted
    assert host.upload("three", one).errno_name == "EEXIST"


RECORDS = [(release, record) for release in ("4.14.6", "4.17.7", "4.20.3") for record in single_uploads(release)]
changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@given(
    st.sampled_from(RECORDS),
    changes,
    st.sampled_from(["4.7.0", "4.9.0", "4.13.0", "4.14.0", "4.17.7", "4.20.3", "4.21.0"]),
)
@settings(max_examples=400, deadline=None)
def test_changed_bytes(chosen: tuple[str, object], changed: list[tuple[float, int]], rules_of: str) -> None:
    release, record = chosen
    data = bytearray(record.data)  # type: ignore[attr-defined]
    for where, value in changed:
        data[int(where * len(data))] = value
    host = Host(recorded_hypervisor(release), release=rules_of)
    result = host.upload("payload", bytes(data))
    assert result.verdict in ("accepted", "refused", "crash")
    assert (result.verdict == "accepted") == (len(host.payloads) == 1)
    assert bool(host.state.memory.mappings) == (result.verdict == "accepted")
