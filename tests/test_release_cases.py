"""Payloads that releases treat differently, at each side of every change: verdict, errno, log, bytes.

The right answers were seen on booted hypervisors or follow from the tags' own headers and sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real_xen.elf_fields import SHT_SYMTAB, SYMBOL_SIZE, form_of
from records import DATA

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.releases import release as release_named

if TYPE_CHECKING:
    from xsplice_loader import LoadResult

CASES = DATA / "cases"
WITH_TABLE_VERSION_1 = '.livepatch_func "xen_minor_version", new, 5, 0, sizeof(new), 1'
OF_THE_MODEL = '.livepatch_func "xen_minor_version", new, 5'
EINVAL, ERANGE, EOPNOTSUPP = 22, 34, 95
CRASH = "crash"


def upload(source: str, release: str) -> LoadResult:
    return Host(Hypervisor.model(), release=release).upload("case", forge(source))


def case(name: str, *changes: tuple[str, str]) -> str:
    """Return a case's text with some parts of it changed."""
    text = (CASES / f"{name}.s").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def with_table_of(name: str, source: str) -> str:
    """Return a case with the function table of a release's form; they have that of 4.14."""
    assert OF_THE_MODEL in source
    if release_named(name).function_version == 1:
        return source.replace(OF_THE_MODEL, WITH_TABLE_VERSION_1)
    return source


def outcome(result: LoadResult) -> int | str | None:
    """Return None for an accepted payload, an errno, or that the host crashes."""
    return CRASH if result.verdict == CRASH else result.errno


def section(result: LoadResult, name: str) -> bytes:
    assert result.placement is not None
    assert result.image is not None
    (placed,) = [placed for placed in result.sections if placed.name == name]
    start = placed.address - result.placement.base
    return result.image[start : start + placed.size]


# Feature numbers.

REPLACED = bytes.fromhex("31c0 6690 c3")


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        *((name, None) for name in ("4.14.6", "4.15.5", "4.16.5", "4.17.2", "4.18.0", "4.18.4", "4.18.5", "4.18.6")),
        *((name, None) for name in ("4.19.0", "4.19.1", "4.19.2", "4.19.3", "4.20.0", "4.20.1", "4.21.0", "4.22.0")),
        *((name, CRASH) for name in ("4.14.0", "4.14.5", "4.15.4", "4.16.4", "4.17.1", "4.11.0")),
    ],
)
def test_feature_word_19(release: str, expected: str | None) -> None:
    source = case("rel-feature-word-19")
    assert outcome(upload(with_table_of(release, source), release)) == expected


@pytest.mark.parametrize(
    ("release", "word", "limit"),
    [
        *((name, 20, "0x280") for name in ("4.18.4", "4.19.2", "4.20.0")),
        *((name, 21, "0x2a0") for name in ("4.20.1", "4.21.0")),
        *((name, 22, "0x2c0") for name in ("4.21.1", "4.22.0")),
    ],
)
def test_the_first_feature_word_out_of_range(release: str, word: int, limit: str) -> None:
    result = upload(case("rel-feature-word-19", ("19*32", f"{word}*32")), release)
    assert result.regions is not None
    assert outcome(result) == ERANGE
    site = result.regions[0].address
    assert result.log[1:] == (
        f"Alt for {site:016x}, feature {word * 32:#x} outside of featureset range {limit}",
        "livepatch: case applying alternatives failed: -34",
    )


# What `.xen_alternative` makes has 14 bytes, which count from 4.11 on.
_ENTRY_OF_12_BYTES = """
        .text
        .balign 16
        .type new, @function
new:    add $16, %rax
        ret
        .size new, . - new
        .pushsection .altinstr_replacement, "ax", @progbits
r1:     xor %eax, %eax
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long new - ., r1 - .
        .short 10*32
        .byte 4, 2
        .popsection
        .livepatch_func "xen_minor_version", new, 5, 0, sizeof(new), 1
        .livepatch_depends xen
        .build_id sha1
"""


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        *((name, None) for name in ("4.7.5", "4.7.6", "4.8.4", "4.8.5", "4.9.0", "4.10.4")),
        *((name, CRASH) for name in ("4.7.0", "4.7.4", "4.8.0", "4.8.3")),
    ],
)
def test_feature_word_10_of_the_oldest_entries(release: str, expected: str | None) -> None:
    assert outcome(upload(_ENTRY_OF_12_BYTES, release)) == expected


def test_feature_word_10() -> None:
    source = case("rel-feature-word-10", (OF_THE_MODEL, WITH_TABLE_VERSION_1))
    assert outcome(upload(source, "4.11.0")) is None
    assert outcome(upload(source.replace("10*32", "11*32"), "4.11.0")) == CRASH
    assert outcome(upload(source.replace("10*32", "11*32"), "4.13.0")) is None


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        *((name, None) for name in ("4.17.6", "4.17.7", "4.18.5", "4.18.6", "4.19.3", "4.20.1", "4.21.0", "4.22.0")),
        *((name, ERANGE) for name in ("4.18.4", "4.19.1", "4.19.2", "4.20.0")),
        *((name, CRASH) for name in ("4.17.5", "4.18.0", "4.18.3", "4.19.0", "4.14.6")),
    ],
)
def test_replaced_where_the_feature_is_absent(release: str, expected: int | str | None) -> None:
    result = upload(case("rel-absent-flag"), release)
    assert outcome(result) == expected
    if expected is None:
        assert section(result, ".text") == REPLACED
    if expected == ERANGE:
        assert "feature 0x80ff outside of featureset range 0x280" in result.log[1]


@pytest.mark.parametrize(("release", "shown"), [("4.18.5", "0x280"), ("4.19.3", "0x2a0"), ("4.20.1", "0x2a0")])
def test_the_absence_flag_is_not_shown_where_it_is_known(release: str, shown: str) -> None:
    result = upload(case("rel-absent-flag", ("0x8000+7*32+31", "0x8000+30*32")), release)
    assert outcome(result) == ERANGE
    assert f"feature 0x3c0 outside of featureset range {shown}" in result.log[1]


# Marks of alternatives.

_UNTOUCHED, _ZERO_RAX, _ZERO_RBX = (bytes.fromhex(code) for code in ("4883c010", "31c06690", "31db6690"))


@pytest.mark.parametrize(
    ("release", "first_site", "marks"),
    [
        ("4.11.0", _ZERO_RAX, [1, 1, 0]),
        ("4.12.4", _ZERO_RAX, [1, 1, 0]),
        ("4.13.0", _UNTOUCHED, [1, 1, 1]),
        ("4.13.5", _UNTOUCHED, [1, 1, 1]),
    ],
)
def test_marks_of_alternatives(release: str, first_site: bytes, marks: list[int]) -> None:
    result = upload(case("rel-alt-priv"), release)
    assert outcome(result) is None
    assert section(result, ".text") == first_site + b"\xc3" + _ZERO_RBX + b"\xc3"
    assert list(section(result, ".altinstructions")[13::14]) == marks


# Relocation sections and empty sections.


@pytest.mark.parametrize(
    ("release", "expected"),
    [("4.7.0", EOPNOTSUPP), ("4.7.6", EOPNOTSUPP), ("4.8.0", None), ("4.9.0", None), ("4.13.0", None)],
)
def test_an_empty_section_of_type_rel(release: str, expected: int | None) -> None:
    assert outcome(upload(case("rel-empty-rel"), release)) == expected


@pytest.mark.parametrize("release", ["4.7.0", "4.8.0", "4.13.0"])
def test_an_empty_section_of_type_rela_is_skipped(release: str) -> None:
    source = case("rel-empty-rel", ("type 9", "type 4"), ("entsize 16", "entsize 0"))
    assert outcome(upload(source, release)) is None


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.7.0", EOPNOTSUPP),
        *((name, None) for name in ("4.8.0", "4.11.0", "4.13.0", "4.14.0", "4.14.4", "4.15.0", "4.15.2", "4.16.0")),
        *((name, EOPNOTSUPP) for name in ("4.14.5", "4.15.3", "4.16.1", "4.17.0", "4.18.0", "4.22.0")),
    ],
)
def test_an_empty_section_that_is_writable_and_executable(release: str, expected: int | None) -> None:
    result = upload(with_table_of(release, case("rel-empty-wx")), release)
    assert outcome(result) == expected
    if expected is None:
        # The label's raw value.
        assert section(result, ".rodata.p") == bytes(8)


@pytest.mark.parametrize("release", ["4.8.0", "4.14.0", "4.16.0"])
def test_a_section_with_content_that_is_writable_and_executable(release: str) -> None:
    source = case("rel-empty-wx", ("void:\n", "void: nop\n"))
    assert outcome(upload(with_table_of(release, source), release)) == EOPNOTSUPP


# Relocations against the slot after the last symbol.


def _with_relocation(kind: int, symbol: int) -> str:
    """Return a payload whose pointer in .rodata.p has a relocation of a type, against a symbol by its index."""
    damage = "#! damage: rela .rela.rodata.p 0"
    _, body = case("rel-empty-rel").rsplit("#! damage", 1)
    body = body.split("\n", 1)[1]
    return f"{damage} type {kind}\n{damage} symbol {symbol}\n{body}"


def _symbol_count(data: bytes) -> int:
    form = form_of(data)
    (table,) = form.of_type(SHT_SYMTAB)
    return form.sections[table].size // SYMBOL_SIZE


@pytest.mark.parametrize(
    ("release", "kind", "expected"),
    [
        # Nothing is stored, so the slot's value is not used.
        *((name, 0, None) for name in ("4.7.0", "4.7.3", "4.8.0", "4.8.1", "4.9.0")),
        *((name, 0, EINVAL) for name in ("4.7.4", "4.8.2", "4.9.1", "4.10.0", "4.13.0")),
        *((name, 1, CRASH) for name in ("4.7.0", "4.8.1", "4.9.0")),
        *((name, 1, EINVAL) for name in ("4.7.4", "4.8.2", "4.9.1", "4.10.0")),
    ],
)
def test_the_slot_after_the_last_symbol(release: str, kind: int, expected: int | str | None) -> None:
    count = _symbol_count(forge(_with_relocation(kind, 1)))
    assert outcome(upload(_with_relocation(kind, count), release)) == expected
    assert outcome(upload(_with_relocation(kind, count + 1), release)) == EINVAL


# Order of the exception table.


@pytest.mark.parametrize(
    ("release", "targets"),
    [("4.7.0", "t1 t2"), ("4.8.5", "t1 t2"), ("4.9.0", "t2 t1"), ("4.11.0", "t2 t1"), ("4.13.0", "t2 t1")],
)
def test_exceptions_at_one_address(release: str, targets: str) -> None:
    result = upload(case("rel-ex-table-order"), release)
    assert outcome(result) is None
    table = section(result, ".ex_table")
    (placed,) = [placed for placed in result.sections if placed.name == ".ex_table"]
    (text,) = [placed for placed in result.sections if placed.name == ".text"]
    fields = [
        placed.address + place + int.from_bytes(table[place : place + 4], "little", signed=True) - text.address
        for place in range(0, len(table), 4)
    ]
    # new: 2 bytes, fault: 2 bytes, t1: 1, t2: 1, later: 2, t3.
    labels = {"fault": 2, "t1": 4, "t2": 5, "later": 6, "t3": 8}
    names = {offset: name for name, offset in labels.items()}
    first, second = targets.split()
    assert [names[field] for field in fields] == ["fault", first, "fault", second, "later", "t3"]


# Alternative calls.


@pytest.mark.parametrize("release", ["4.21.0", "4.22.0"])
def test_alternative_calls_without_text(release: str) -> None:
    result = upload(case("rel-ac-no-text"), release)
    assert outcome(result) == EINVAL
    assert result.log == ("livepatch: case Alternative calls provided, but no .text",)


@pytest.mark.parametrize("release", ["4.21.0", "4.22.0"])
def test_an_alternative_call_outside_of_the_text(release: str) -> None:
    result = upload(case("rel-ac-outside"), release)
    assert outcome(result) == EINVAL
    assert result.regions is not None
    text, data, _ = result.regions
    (pointer,) = [placed.address for placed in result.sections if placed.name == ".data.ptr"]
    assert data.address <= pointer
    assert result.log == (
        f"livepatch: case: Alternative call {pointer:016x}+0x6 outside payload text {text.address:016x}+{text.size:#x}",
    )


@pytest.mark.parametrize("release", ["4.21.0", "4.22.0"])
def test_an_alternative_call_that_is_not_one(release: str) -> None:
    result = upload(case("rel-ac-not-a-call"), release)
    assert outcome(result) == EINVAL
    assert result.regions is not None
    text = section_of_refused(result, ".text")
    site = text + 4
    displacement = section_of_refused(result, ".data.ptr") - (site + 5)
    found = b"\x15" + displacement.to_bytes(4, "little", signed=True) + b"\xc3"
    assert result.log == (
        f"Altcall for {site:016x} [{found.hex(' ')}] not CALL *RIPREL",
        "livepatch: case: Applying alternative calls failed: -22",
    )


def section_of_refused(result: LoadResult, name: str) -> int:
    """Return a section's address."""
    return next(placed.address for placed in result.sections if placed.name == name)


@pytest.mark.parametrize(
    ("release", "lines"),
    [("4.21.0", ["Altcall {site:016x} dest strlen has no endbr64"]), ("4.20.4", []), ("4.22.0", None)],
)
def test_an_alternative_call_of_a_function_without_endbr64(release: str, lines: list[str] | None) -> None:
    result = upload(case("rel-ac-target-xen"), release)
    assert outcome(result) is None
    site = section_of_refused(result, ".text") + 3
    expected = ["Altcall {site:016x} dest strlen has no endbr64"] if lines is None else lines
    assert list(result.log) == [line.format(site=site) for line in expected]


@pytest.mark.parametrize(
    ("release", "direct", "lines"),
    [
        ("4.12.4", False, ()),
        ("4.13.0", True, ()),
        ("4.14.5", True, ()),
        ("4.16.3", True, ()),
        ("4.17.0", True, ("altcall {site:016x} dest strlen has no endbr64",)),
        ("4.20.4", True, ("altcall {site:016x} dest strlen has no endbr64",)),
        ("4.21.0", False, ()),
    ],
)
def test_an_indirect_call_inside_an_alternative(release: str, direct: bool, lines: tuple[str, ...]) -> None:
    version = 1 if release in ("4.12.4", "4.13.0") else 2
    source = f"""
        .text
        .balign 16
        .type new, @function
new:    .byte 0xff, 0x15
        .long pointer - . - 4
        ret
        .size new, . - new
        .pushsection .altinstr_replacement, "ax", @progbits
r1:     .byte 0xe8, 0xfb, 0xff, 0xff, 0xff
        .popsection
        .pushsection .data.pointer, "aw", @progbits
        .balign 8
pointer: .quad strlen
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long new - ., r1 - .
        .short 93
        .byte 6, 5, 0, 0
        .popsection
        .livepatch_func "xen_minor_version", new, 5, 0, sizeof(new), {version}
        .livepatch_depends xen
        {".livepatch_xen_depends xen" if version == 2 else ""}
        .build_id sha1
"""
    result = upload(source, release)
    assert outcome(result) is None
    site = section_of_refused(result, ".text")
    code = section(result, ".text")
    assert (code[0], code[5]) == (0xE8, 0x90)
    target = site + 5 + int.from_bytes(code[1:5], "little", signed=True)
    # Without the special case, a branch to itself is moved along with the replacement.
    replacement = section_of_refused(result, ".altinstr_replacement")
    assert target == (Hypervisor.model().symbols.address_of(b"strlen") if direct else replacement)
    assert result.log[1:] == tuple(line.format(site=site) for line in lines)
