"""Captured memory: what a core file supplies, and which files are refused."""

from __future__ import annotations

import gzip
import os
import struct
import threading
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypervisor.cores import HEADER, SEGMENT, core
from hypervisor.sites import changed_bytes
from known_hypervisors import KNOWN

from xsplice_loader import Hypervisor, HypervisorFileError
from xsplice_loader.releases import ENDBR64_POISON

if TYPE_CHECKING:
    from pathlib import Path

    from known_hypervisors import Package

PAGE = 4096


@pytest.fixture
def xen(package: Package) -> Hypervisor:
    return Hypervisor.open(package.xen_syms)


def opened(package: Package, tmp_path: Path, contents: bytes) -> Hypervisor:
    file = tmp_path / "memory.core"
    file.write_bytes(contents)
    return Hypervisor.open(package.xen_syms, memory=file)


def refused(package: Package, tmp_path: Path, contents: bytes) -> str:
    with pytest.raises(HypervisorFileError) as caught:
        opened(package, tmp_path, contents)
    message = str(caught.value)
    assert message.startswith(f"captured memory {tmp_path / 'memory.core'}: ")
    return message


def address_of(xen: Hypervisor, name: bytes) -> int:
    address = xen.symbols.address_of(name)
    assert address is not None
    return address


def test_it_supplies_what_boot_wrote(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    genapic = address_of(xen, b"genapic")
    assert xen.at_run_time.read(genapic, 8) is None
    memory = opened(package, tmp_path, core({genapic: b"captured"}, xen.build_id))
    assert memory.memory == str(tmp_path / "memory.core")
    assert memory.at_run_time.read(genapic, 8) == b"captured"
    assert memory.at_run_time.read(genapic, 9) is None
    assert memory.at_run_time.read(genapic - 1, 2) is None


def test_captured_and_constant_bytes_join(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    sites = xen.at_run_time.boot_sites
    assert sites is not None
    # A site of Xen's own with constant text on both sides.
    start, end = next(
        (start, end)
        for start, end in zip(sites.starts.tolist(), sites.ends.tolist(), strict=True)
        if xen.text_start < start < end < xen.text_end
        and len(changed_bytes(sites, start - 8, end - start + 16)) == end - start
    )
    before = xen.at_run_time.read_partly(start - 8, end - start + 16)
    assert bytes(before.unknown) == bytes(8) + b"\1" * (end - start) + bytes(8)
    memory = opened(package, tmp_path, core({start: b"\xcc" * (end - start)}, xen.build_id))
    linked = xen.at_run_time.as_linked(start - 8, end - start + 16) or b""
    found = memory.at_run_time.read(start - 8, end - start + 16)
    assert found == linked[:8] + b"\xcc" * (end - start) + linked[-8:]


def test_a_gzipped_core(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    genapic = address_of(xen, b"genapic")
    memory = opened(package, tmp_path, gzip.compress(core({genapic: b"captured"}, xen.build_id)))
    assert memory.at_run_time.read(genapic, 8) == b"captured"


def test_other_memory_of_a_dump_is_passed_over(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    genapic = address_of(xen, b"genapic")
    contents = core({0x1000: bytes(PAGE), 0xFFFF830000000000: bytes(PAGE), genapic: b"captured"}, xen.build_id)
    assert opened(package, tmp_path, contents).at_run_time.read(genapic, 8) == b"captured"


def test_the_build_id_in_the_image_counts_too(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    note = address_of(xen, b"__note_gnu_build_id_start")
    contents = xen.at_run_time.as_linked(note, 36) or b""
    assert xen.build_id is not None
    assert contents.endswith(xen.build_id)
    assert opened(package, tmp_path, core({note: contents}, None)).build_id == xen.build_id
    assert "has build-id 00, but its memory" in refused(package, tmp_path, core({note: contents}, b"\0"))
    other = contents[:-1] + bytes([contents[-1] ^ 1])
    assert f"but the hypervisor {package.xen_syms} is {xen.build_id.hex()}" in refused(
        package, tmp_path, core({note: other}, None)
    )


def test_a_symbol_list_learns_its_build_id(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    file = tmp_path / "memory.core"
    file.write_bytes(core({xen.text_start: xen.at_run_time.as_linked(xen.text_start, PAGE) or b""}, xen.build_id))
    listed = Hypervisor.open(package.map, memory=file)
    assert listed.build_id == xen.build_id
    assert listed.has_known_build_id
    assert listed.at_run_time.read(xen.text_start, 16) == xen.at_run_time.as_linked(xen.text_start, 16)


@pytest.mark.parametrize("known", [known for known in KNOWN if known.version != "4.17.7"], ids=lambda k: k.version)
def test_another_build(package: Package, xen: Hypervisor, tmp_path: Path, known: object) -> None:
    build_id = bytes.fromhex(known.build_id)  # type: ignore[attr-defined]
    message = refused(package, tmp_path, core({address_of(xen, b"genapic"): bytes(8)}, build_id))
    assert f"is of the build {build_id.hex()}, but the hypervisor" in message


def test_constant_bytes_that_differ(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    place = address_of(xen, b"xen_minor_version")
    code = bytearray(xen.at_run_time.read(place, 5) or b"")
    code[3] ^= 0xFF
    message = refused(package, tmp_path, core({place: bytes(code)}, xen.build_id))
    assert "differs from" in message
    assert "xen_minor_version+0x3 in .text" in message


def test_endbr64_that_boot_took_away(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    # On a processor that tracks indirect branches; xen/arch/x86/alternative.c: _apply_alternatives.
    place = next(
        address
        for _, address, kind in xen.symbols
        if kind in "tT" and xen.at_run_time.read(address, 4) == bytes.fromhex("f30f1efa")
    )
    memory = opened(package, tmp_path, core({place: ENDBR64_POISON}, xen.build_id))
    assert memory.at_run_time.read(place, 4) == ENDBR64_POISON


def test_without_any_build_id(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    genapic = address_of(xen, b"genapic")
    assert "has no build-id, and too little" in refused(package, tmp_path, core({genapic: bytes(8)}, None))
    rodata = xen.at_run_time.as_linked(address_of(xen, b"__ro_after_init_end"), 2 * PAGE) or b""
    with_constants = core({genapic: bytes(8), address_of(xen, b"__ro_after_init_end"): rodata}, None)
    assert opened(package, tmp_path, with_constants).build_id == xen.build_id


def test_files_that_are_no_cores(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    whole = core({address_of(xen, b"genapic"): bytes(8)}, xen.build_id)
    assert "is empty" in refused(package, tmp_path, b"")
    assert "is not an ELF core file" in refused(package, tmp_path, b"PAGEDUMP" * 100)
    assert "not a core file (ET_CORE, 4)" in refused(package, tmp_path, whole[:16] + b"\x02\0" + whole[18:])
    assert "not an ELF core file for x86-64" in refused(package, tmp_path, whole[:18] + b"\xb7\0" + whole[20:])
    assert "truncated or damaged" in refused(package, tmp_path, whole[:40])
    assert "truncated or damaged" in refused(package, tmp_path, whole[: HEADER.size + 60])
    assert "truncated or damaged" in refused(package, tmp_path, whole[:-1])
    assert "program headers of 32 bytes" in refused(package, tmp_path, whole[:54] + b"\x20\0" + whole[56:])


def test_cores_without_virtual_addresses(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    physical = core({0x200000: bytes(PAGE)}, xen.build_id)
    assert "do its segments have virtual addresses?" in refused(package, tmp_path, physical)


def test_segments_that_contradict_one_another(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    genapic = address_of(xen, b"genapic")
    contents = core({genapic: bytes(16), genapic + 8: b"\1" * 16}, xen.build_id)
    # Program header 0 is the note's.
    claimed = f"program headers 1 and 2 both have the virtual addresses from {genapic + 8:#x} to {genapic + 16:#x}"
    assert claimed in refused(package, tmp_path, contents)


def test_more_segments_than_the_header_can_say(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    # e_phnum is PN_XNUM, and section 0 has the number in sh_info, as in dumps of large machines.
    genapic = address_of(xen, b"genapic")
    contents = bytearray(core({genapic: b"captured"}, xen.build_id))
    struct.pack_into("<H", contents, 56, 0xFFFF)
    struct.pack_into("<Q", contents, 40, len(contents))
    contents += struct.pack("<44xI16x", 2)
    assert opened(package, tmp_path, bytes(contents)).at_run_time.read(genapic, 8) == b"captured"
    struct.pack_into("<I", contents, len(contents) - 20, 1 << 30)
    assert f"{1 << 30} program headers of {SEGMENT.size} bytes" in refused(package, tmp_path, bytes(contents))
    struct.pack_into("<Q", contents, 40, 2**64 - 1)
    assert "section header 0 should be 48 bytes at offset 0xffffffffffffffff" in refused(
        package, tmp_path, bytes(contents)
    )


def test_segments_over_the_same_bytes_take_no_memory(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    # As if 1,000 segments had the same 16 MiB of the file: 16 GiB, but only 16 MiB of it are in the image.
    whole = bytearray(core({xen.image_start + (number << 24): b"" for number in range(1000)}, xen.build_id))
    end = len(whole) + (1 << 24)
    for number in range(1, 1001):
        struct.pack_into("<QQ", whole, HEADER.size + number * SEGMENT.size + 8, len(whole), xen.image_start)
        struct.pack_into("<Q", whole, HEADER.size + number * SEGMENT.size + 32, 1 << 24)
    file = tmp_path / "memory.core"
    file.write_bytes(whole)
    os.truncate(file, end)
    tracemalloc.start()
    try:
        with pytest.raises(HypervisorFileError, match="program headers 1 and 2 both have"):
            xen.with_memory(file)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_more_segments_than_pages(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    count = (1 << 14) + 1
    whole = bytearray(core({xen.image_start: b"x"}, None))
    struct.pack_into("<H", whole, 56, count)
    entry = whole[HEADER.size : HEADER.size + SEGMENT.size]
    assert "more than 16384 segments in Xen's image" in refused(
        package, tmp_path, bytes(whole[: HEADER.size] + entry * count)
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_core_from_a_pipe(package: Package, xen: Hypervisor, tmp_path: Path, packed: bool) -> None:
    genapic = address_of(xen, b"genapic")
    contents = core({genapic: b"captured"}, xen.build_id)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(contents) if packed else contents,))
    writer.start()
    try:
        assert xen.with_memory(pipe).at_run_time.read(genapic, 8) == b"captured"
    finally:
        writer.join()


def test_a_core_that_is_too_large_to_unpack(
    package: Package, xen: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = "a core file from a pipe or gzip file is limited to 256 MiB; name the uncompressed file"
    zeros = gzip.compress(bytes(1 << 20), 1) * 257
    assert limited in refused(package, tmp_path, zeros)
    sparse = tmp_path / "sparse"
    with sparse.open("w+b") as file:
        file.truncate((256 << 20) + 1)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file))
        with pytest.raises(HypervisorFileError, match=limited):
            xen.with_memory("-")


def test_what_memory_supplies_is_no_assumption(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    listed = Hypervisor.open(package.map, "4.17.7")
    assert any("build-id" in sentence for sentence in listed.assumptions)
    assert any("old bytes are not compared" in sentence for sentence in listed.assumptions)
    file = tmp_path / "memory.core"
    text = xen.at_run_time.as_linked(xen.text_start, PAGE) or b""
    file.write_bytes(core({xen.text_start: text}, xen.build_id))
    said = " ".join(listed.with_memory(file).assumptions)
    assert "build-id" not in said
    assert "not compared" not in said
    assert "old bytes are compared only where memory was captured" in said
    # What memory does not supply stays.
    assert set(listed.assumptions) - set(listed.with_memory(file).assumptions) == {
        sentence for sentence in listed.assumptions if "not compared" in sentence
    }


def test_missing_files(package: Package, tmp_path: Path) -> None:
    with pytest.raises(HypervisorFileError, match=r"cannot read captured memory .*: No such file or directory"):
        Hypervisor.open(package.xen_syms, memory=tmp_path / "none")


def test_the_model_takes_none(tmp_path: Path) -> None:
    with pytest.raises(HypervisorFileError, match="the hypervisor that it was captured from is not given"):
        Hypervisor.model().with_memory(tmp_path / "none")


def test_captured_bytes_come_before_constant_ones(package: Package, xen: Hypervisor, tmp_path: Path) -> None:
    place = address_of(xen, b"nsvm_vcpu_initialise")
    linked = xen.at_run_time.read(place - 2, 8)
    assert linked is not None
    memory = opened(package, tmp_path, core({place: ENDBR64_POISON}, xen.build_id)).at_run_time
    assert memory.read(place - 2, 8) == linked[:2] + ENDBR64_POISON + linked[6:]
    assert memory.read_partly(place - 2, 8).shown == (linked[:2] + ENDBR64_POISON + linked[6:]).hex()
