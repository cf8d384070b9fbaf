"""Files that are no hypervisor, or no longer: one clear sentence, whatever they hold."""

from __future__ import annotations

import gzip
import os
import resource
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xsplice_loader.hypervisor import Hypervisor, HypervisorFileError

if TYPE_CHECKING:
    from pathlib import Path


def elf_header(*, bits: int = 64, kind: int = 2, machine: int = 62, segments: int = 0, at: int = 64) -> bytes:
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    if bits == 32:
        return ident + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, 0, at, 0, 0, 52, 32, segments, 0, 0, 0)
    return ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, at, 0, 0, 64, 56, segments, 0, 0, 0)


def load_segment(address: int, size: int, file_size: int = 0) -> bytes:
    return struct.pack("<IIQQQQQQ", 1, 5, 0, address, 0, file_size, size, 1)


def pe_header(machine: int, sections: int, optional_size: int = 240) -> bytes:
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    optional = struct.pack("<H", 0x20B).ljust(24, b"\0") + struct.pack("<Q", 0xFFFF82D040000000)
    header = b"PE\0\0" + struct.pack("<HHIIIHH", machine, sections, 0, 0, 0, optional_size, 0)
    return start + header + optional.ljust(optional_size, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x7fELF", "truncated"),
        (b"\0" * 100, "is no hypervisor: expected xen-syms"),
        (elf_header(kind=1), r"relocatable object \(ET_REL\), as payloads are"),
        (elf_header(machine=183), "machine 183"),
        (elf_header(kind=3), "type 3"),
        (elf_header(), "without a loadable segment"),
        (elf_header(segments=1, at=1 << 62), "program header table"),
        (elf_header(segments=1) + load_segment(0xFFFFFFFF81000000, 4096), "no Xen for x86-64"),
        (elf_header(segments=1) + load_segment(0xFFFF82D040200000, 1 << 60), "1 GiB"),
        (elf_header(segments=1) + load_segment(0xFFFF82D040200000, 1 << 29), "has no symbol table"),
        (elf_header(segments=1) + load_segment(0xFFFF82D040200000, 8192, 8192), "a loadable segment"),
        (elf_header(segments=2) + load_segment(0xFFFF82D040200000, 64) * 2, "both claim"),
        (elf_header(bits=32, machine=3, at=52), "32-bit ELF file without Xen's embedded symbol table"),
        (b"MZ" + b"\xff" * 0x3E, "the PE header"),
        (pe_header(0x14C, 0), "no PE image for x86-64"),
        (pe_header(0x8664, 97), "97 sections"),
        (pe_header(0x8664, 3), "the section table"),
        (pe_header(0x8664, 0), "without Xen's embedded symbol table"),
        (gzip.compress(b""), "gzip file of nothing"),
        (gzip.compress(bytes(1000))[:-9], "truncated: the gzip data"),
        (gzip.compress(b"abc" * 99)[:10] + b"\xff" * 40, "damaged: gzip data"),
        (gzip.compress(gzip.compress(b"\x7fELF")), "is no hypervisor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(HypervisorFileError, match=message) as refusal:
        Hypervisor.open(path)
    assert str(refusal.value).startswith(str(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(HypervisorFileError, match="No such file"):
        Hypervisor.open(tmp_path / "none")
    with pytest.raises(HypervisorFileError, match="directory"):
        Hypervisor.open(tmp_path)


def test_pipes_are_read(unpacked: bytes) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, unpacked[:4096])
    os.close(write_end)
    try:
        with pytest.raises(HypervisorFileError, match="truncated"):
            Hypervisor.open(f"/dev/fd/{read_end}")
    finally:
        os.close(read_end)


def test_gzip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "xen.gz"
    path.write_bytes(gzip.compress(bytes(32 << 20)) * 100)
    with pytest.raises(HypervisorFileError, match="unpacks to more than 256 MiB"):
        Hypervisor.open(path)


def test_many_members_add_up(tmp_path: Path, unpacked: bytes) -> None:
    path = tmp_path / "xen.gz"
    parts = (unpacked[at : at + 1000] for at in range(0, len(unpacked), 1000))
    path.write_bytes(b"".join(gzip.compress(part, 1) for part in parts) + bytes(512))
    assert Hypervisor.open(path).release.name == "4.17.7"


def test_a_huge_file_costs_no_memory(tmp_path: Path) -> None:
    sections = struct.pack("<8s6I2HI", b".text", 1 << 30, 0, 0, 0, 0, 0, 0, 0, 0x60000020)
    path = tmp_path / "xen.efi"
    with path.open("wb") as file:
        file.write(pe_header(0x8664, 1) + sections)
        file.truncate(8 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HypervisorFileError, match="larger than 256 MiB"):
        Hypervisor.open(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_file_that_is_cut_while_it_is_used(tmp_path: Path, unpacked: bytes) -> None:
    path = tmp_path / "xen-syms"
    path.write_bytes(unpacked)
    hypervisor = Hypervisor.open(path)
    expected = hypervisor.at_run_time.as_linked(hypervisor.text_start, 16)
    os.truncate(path, 0)
    assert hypervisor.at_run_time.as_linked(hypervisor.text_start, 16) == expected
    assert hypervisor.symbols.address_of(b"strlen") is not None


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_truncated(share: float, tmp_path: Path, unpacked: bytes) -> None:
    path = tmp_path / "xen-syms"
    path.write_bytes(unpacked[: int(len(unpacked) * share)])
    with pytest.raises(HypervisorFileError, match="truncated"):
        Hypervisor.open(path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.integers(0, 400_000), st.integers(0, 255), min_size=1, max_size=8))
def test_changed_bytes_never_surprise(changes: dict[int, int], tmp_path: Path, unpacked: bytes) -> None:
    data = bytearray(unpacked)
    for position, value in changes.items():
        data[position % len(data)] = value
    check(tmp_path, data)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.integers(0, 700), st.integers(0, 255), min_size=1, max_size=4))
def test_changed_headers_never_surprise(changes: dict[int, int], tmp_path: Path, unpacked: bytes) -> None:
    data = bytearray(unpacked)
    for position, value in changes.items():
        data[position] = value
    check(tmp_path, data)


def check(tmp_path: Path, data: bytearray) -> None:
    path = tmp_path / "xen-syms"
    path.write_bytes(data)
    try:
        hypervisor = Hypervisor.open(path)
    except HypervisorFileError:
        return
    assert hypervisor.text_start < hypervisor.image_end <= hypervisor.arena_start < hypervisor.arena_end
    hypervisor.symbols.names_like(b"apply_payload")
    hypervisor.symbols.symbol_at(hypervisor.text_start)
