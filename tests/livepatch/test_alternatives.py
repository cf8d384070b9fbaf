"""Alternatives, as running hypervisors carried them out, and what those three cannot show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from recorded_tables import Row, check_against_record, label, payload, recorded
from records import recorded_hypervisor

from xsplice_loader import Host, Hypervisor, load
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from xsplice_loader import LoadResult
    from xsplice_loader.livepatch.patching import NopTable

ALWAYS = 93
ABSENT = 111
WHEN_ABSENT = 1 << 15

SOURCE = """
        .text
        .globl replacement
        .type replacement, @function
replacement:
        lea     name(%rip), %rax
        ret
        .size replacement, . - replacement
site:
        {site}
        ret
        .section .altinstr_replacement, "ax", @progbits
there:
        {there}
        .section .altinstructions, "a", @progbits
        .long site - ., there - .
        .short {feature}
        .byte {lengths}
        .section .rodata, "a", @progbits
name:
        .asciz "name"
        .livepatch_func "xen_extra_version", replacement, 16, 0, 8, {version}
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
"""
SITE_OFFSET = 8
NINE = "0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09"
OF_NINE = bytes(range(1, 10))


def upload(
    release: str,
    feature: int,
    lengths: str,
    *,
    nops: NopTable = "k8",
    features: tuple[int, ...] = (),
    there: str = ".byte 0xa1, 0xa2",
) -> LoadResult:
    """Upload a payload with one alternative for nine bytes; lengths are of site, replacement, padding, and `priv`."""
    version = 2 if branch(release) >= 14 else 1
    if branch(release) >= 11:
        lengths += ", 0" * (3 - lengths.count(","))
    source = SOURCE.format(site=f".byte {NINE}", there=there, feature=feature, lengths=lengths, version=version)
    return load(forge(source), Hypervisor.model(), release=release, nops=nops, cpu_features=features)


def branch(release: str) -> int:
    return int(release.split(".")[1])


def site(result: LoadResult) -> bytes:
    assert result.accepted, result.findings
    assert result.image is not None
    return result.image[SITE_OFFSET : SITE_OFFSET + len(OF_NINE)]


@pytest.mark.parametrize(("release", "row"), recorded(of_exception_tables=False), ids=label)
def test_as_recorded(release: str, row: Row) -> None:
    check_against_record(release, row)


# The bytes of NOPs are those of the table in spec/04 §2.2.
@pytest.mark.parametrize(
    ("release", "nops", "expected"),
    [
        # 12 bytes an entry, 8 bytes a NOP at most.
        ("4.10.0", "k8", "a1 a2 66 66 66 90 66 66 90"),
        ("4.10.0", "p6", "a1 a2 0f 1f 80 00 00 00 00"),
        ("4.11.0", "k8", "a1 a2 66 66 66 90 66 66 90"),
        ("4.20.0", "p6", "a1 a2 0f 1f 80 00 00 00 00"),
    ],
)
def test_fills_up_with_nops(release: str, nops: NopTable, expected: str) -> None:
    assert site(upload(release, ALWAYS, "9, 2", nops=nops)) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("release", "nops", "expected"),
    [
        ("4.11.0", "p6", "01 02 03 66 0f 1f 44 00 00"),
        ("4.11.0", "k8", "01 02 03 66 66 90 66 66 90"),
        # On a processor with P6 NOPs the assembler's padding is ideal already (spec/07 16).
        ("4.12.0", "p6", "01 02 03 04 05 06 07 08 09"),
        ("4.12.0", "k8", "01 02 03 66 66 90 66 66 90"),
    ],
)
def test_padding_of_a_site_that_stays(release: str, nops: NopTable, expected: str) -> None:
    assert site(upload(release, ABSENT, "3, 2, 6", nops=nops)) == bytes.fromhex(expected)


def test_the_processor_has_what_it_is_said_to_have() -> None:
    replaced = bytes.fromhex("a1 a2 66 90") + OF_NINE[4:]
    assert site(upload("4.20.1", ABSENT, "4, 2")) == OF_NINE
    assert site(upload("4.20.1", ABSENT, "4, 2", features=(ABSENT,))) == replaced
    assert site(upload("4.20.1", WHEN_ABSENT | ABSENT, "4, 2")) == replaced
    assert site(upload("4.20.1", WHEN_ABSENT | ABSENT, "4, 2", features=(ABSENT,))) == OF_NINE
    # What every processor has need not be listed.
    assert site(upload("4.20.1", ALWAYS, "4, 2", features=(ABSENT,))) == replaced


@pytest.mark.parametrize(("release", "words"), [("4.8.0", 10), ("4.9.0", 11), ("4.14.0", 13), ("4.22.0", 22)])
def test_the_highest_feature(release: str, words: int) -> None:
    assert upload(release, words * 32 - 1, "4, 2").accepted
    beyond = upload(release, words * 32, "4, 2")
    assert beyond.rule == ("XSP186" if release == "4.22.0" else "XSP187")


def test_a_replacement_longer_than_its_site_before_padding() -> None:
    # Up to 4.10 there is no padding that could make up for it.
    result = upload("4.10.0", ALWAYS, "1, 2")
    assert (result.verdict, result.rule, result.errno) == ("crash", "XSP187", None)


def test_a_jump_to_the_return_thunk_moves_along() -> None:
    # 4.21 corrects the jump that ends a replacement, if it leads to the return thunk.
    hypervisor = recorded_hypervisor("4.20.3")
    data = payload("4.20.3", "jmp-last-thunk")
    thunk = hypervisor.symbols.address_of(b"__x86_return_thunk")
    ends = {}
    for release in ("4.20.3", "4.21.0"):
        result = Host(hypervisor, release=release).upload("payload", data)
        assert result.accepted
        assert result.image is not None
        assert result.regions is not None
        # The site of 8 bytes and padding of 8 begins where bytes 1 to 3 of the replacement stand now.
        start = result.image.index(bytes((1, 2, 3, 0xE9)))
        displacement = int.from_bytes(result.image[start + 4 : start + 8], "little", signed=True)
        ends[release] = result.regions[0].address + start + 8 + displacement
    assert ends["4.21.0"] == thunk
    assert ends["4.20.3"] != thunk


def test_several_lines_of_one_refusal() -> None:
    data = payload("4.20.3", "repl-longer")
    result = Host(recorded_hypervisor("4.20.3")).upload("another-name", data)
    assert result.errno_name == "ENOSPC"
    assert result.xen_message is not None
    assert result.xen_message.splitlines()[1] == "applying alternatives failed: -28"


def test_what_is_dangerous_is_told() -> None:
    for name, rule in (
        ("site-pad-over-end", "XSP190"),
        ("altcall-no-endbr", "XSP191"),
        ("branch-wraps-jmp", "XSP192"),
    ):
        result = Host(recorded_hypervisor("4.17.7")).upload(name, payload("4.17.7", name))
        assert result.accepted
        assert [finding.rule for finding in result.findings] == [rule]


def test_later_entries_are_looked_at_too() -> None:
    data = payload("4.17.7", "run-first-good-second-long")
    result = Host(recorded_hypervisor("4.17.7")).upload("payload", data)
    assert [(finding.rule, finding.index) for finding in result.findings] == [("XSP187", 1)]
