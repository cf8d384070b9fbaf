"""Debian's whole Xen 4.17 in all its forms, against its own map files and binutils."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile
from known_hypervisors import missing

from xsplice_loader.hypervisor import Hypervisor

if TYPE_CHECKING:
    import pytest
    from known_hypervisors import Package

RECORD = Path(__file__).parents[2] / "scripts" / "record-hypervisor"


def listed(path: Path) -> set[tuple[bytes, int, str]]:
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {(name, int(address, 16), kind.decode()) for address, kind, name in lines}


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        missing(f"{command[0]} (binutils) is not installed")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_symbols_are_those_of_the_map(package: Package) -> None:
    expected = listed(package.map)
    assert set(Hypervisor.open(package.xen_syms).symbols) == expected
    assert set(Hypervisor.open(package.boot_image).symbols) == expected
    assert set(Hypervisor.open(package.map).symbols) == expected
    assert set(Hypervisor.open(package.efi).symbols) == listed(package.efi_map)


def test_addresses_are_those_of_nm(package: Package) -> None:
    symbols = Hypervisor.open(package.xen_syms).symbols
    lines = (line.split() for line in output_of("nm", "-g", str(package.xen_syms)).splitlines())
    # Absolute symbols, such as FIXADDR_X_SIZE, are not in Xen's table.
    expected = {name: int(address, 16) for address, kind, name in lines if kind != "A"}
    assert len(expected) > 3000
    assert {name: symbols.address_of(name.encode()) for name in expected} == expected


def test_every_form_tells_the_same(package: Package) -> None:
    whole = Hypervisor.open(package.xen_syms)
    boot = Hypervisor.open(package.boot_image)
    assert list(boot.symbols) == list(whole.symbols)
    for name in ("release", "build_id", "text_start", "text_end", "image_end", "arena_start", "arena_end"):
        assert getattr(boot, name) == getattr(whole, name), name
    assert boot.assumptions == whole.assumptions == ()
    for address in range(whole.text_start, whole.image_end - 4096, 0x10000):
        assert boot.at_run_time.as_linked(address, 4096) == whole.at_run_time.as_linked(address, 4096)


def test_build_ids(package: Package) -> None:
    note = re.search(r"Build ID: ([0-9a-f]+)", output_of("readelf", "-n", str(package.xen_syms)))
    assert note is not None
    assert Hypervisor.open(package.xen_syms).build_id == bytes.fromhex(note[1])
    record = re.search(r"\(format RSDS signature ([0-9a-f]{32})", output_of("objdump", "-p", str(package.efi)))
    assert record is not None
    # objdump writes the signature as a GUID, with its first three fields swapped; Xen takes it as it lies.
    efi = Hypervisor.open(package.efi).build_id
    assert efi is not None
    assert efi.hex().startswith("c62e97bfb715")
    assert sorted(efi) == sorted(bytes.fromhex(record[1]))


def test_efi_image_has_another_arena(package: Package) -> None:
    efi = Hypervisor.open(package.efi)
    assert (efi.arena_start, efi.arena_end) == (0xFFFF82D040A00000, 0xFFFF82D07FEFF000)
    assert efi.release.name == Hypervisor.open(package.xen_syms).release.name
    assert b"common/livepat#apply_payload" in efi.symbols


def test_bytes_are_those_of_the_segment(package: Package) -> None:
    hypervisor = Hypervisor.open(package.xen_syms)
    with package.xen_syms.open("rb") as file:
        segment = next(s for s in ELFFile(file).iter_segments() if s["p_type"] == "PT_LOAD")
        start, data = segment["p_vaddr"], segment.data()
        end = start + segment["p_memsz"]
    assert hypervisor.at_run_time.as_linked(start, len(data)) == data
    assert hypervisor.at_run_time.as_linked(start + len(data) - 2, 6) == data[-2:] + bytes(4)
    assert hypervisor.at_run_time.as_linked(end - 1, 1) == b"\0"
    assert hypervisor.at_run_time.as_linked(start - 1, 2) is None
    assert hypervisor.at_run_time.as_linked(end - 1, 8192) is None


def test_symbol_table_serves_where_none_is_embedded(package: Package, tmp_path: Path) -> None:
    data = bytearray(package.xen_syms.read_bytes())
    digits = b"".join(b"%d\0" % digit for digit in range(10))
    assert data.count(digits) == 1
    data[data.index(digits)] = 0
    for label in (b"symbols_offsets", b"symbols_token_index"):
        assert data.count(b"\0" + label + b"\0") == 1
        data = data.replace(b"\0" + label + b"\0", b"\0" + label[::-1] + b"\0")
    path = tmp_path / "xen-syms"
    path.write_bytes(data)
    expected = {(name, address) for name, address, _ in listed(package.map)}
    found = {(name, address) for name, address, _ in Hypervisor.open(path).symbols}
    assert {name for name, _ in expected ^ found} == {
        b"symbols_offsets",
        b"symbols_token_index",
        b"stesffo_slobmys",
        b"xedni_nekot_slobmys",
    }


def test_symbol_lists_of_nm(package: Package, tmp_path: Path) -> None:
    globals_ = {name for name, _, kind in listed(package.map) if kind.isupper()}
    for options in (["-n"], ["--format=sysv", "-n"]):
        path = tmp_path / "listing"
        path.write_text(output_of("nm", *options, str(package.xen_syms)))
        hypervisor = Hypervisor.open(path)
        assert globals_ <= set(hypervisor.symbols.names)
        assert any("which file" in sentence for sentence in hypervisor.assumptions)


def test_listing_with_files_names_local_symbols_as_xen_does(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "listing"
    path.write_text(output_of("nm", "-pa", "--format=sysv", str(package.xen_syms)))
    expected = {(name, address) for name, address, _ in listed(package.map)}
    found = {(name, address) for name, address, _ in Hypervisor.open(path).symbols}
    assert expected <= found
    # -a adds the sections' own symbols.
    assert all(name.startswith(b".") or b"#." in name for name, _ in found - expected)


def test_found_by_build_id(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsplice_loader.hypervisor.search.SYSTEM_DIRECTORIES", ())
    whole = Hypervisor.open(package.xen_syms)
    assert whole.build_id is not None
    boot, debug = package.boot_image.parent, package.xen_syms.parent
    (tmp_path / "damaged.gz").write_bytes(gzip.compress(b"\x7fELF")[:-4])
    (tmp_path / "xen-short").write_bytes(b"\x7fELF")
    found = Hypervisor.find(whole.build_id, [tmp_path, tmp_path / "none", boot, debug])
    assert found is not None
    assert found.file == str(package.xen_syms)
    boot_only = Hypervisor.find(whole.build_id, [tmp_path, boot])
    assert boot_only is not None
    assert boot_only.file == str(package.boot_image)
    assert Hypervisor.find(bytes(20), [tmp_path, boot, debug]) is None


def test_debug_file_gives_names_and_no_bytes(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "xen.debug"
    output_of("objcopy", "--only-keep-debug", str(package.xen_syms), str(path))
    whole, debug = Hypervisor.open(package.xen_syms), Hypervisor.open(path)
    assert debug.build_id == whole.build_id
    assert {(name, at) for name, at, _ in debug.symbols} == {(name, at) for name, at, _ in whole.symbols}
    assert debug.at_run_time.as_linked(debug.text_start, 16) is None
    assert any("no code" in sentence for sentence in debug.assumptions)


def test_cut_file_tells_the_same(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "cut.elf.gz"
    whole = Hypervisor.open(package.xen_syms)
    place = whole.symbols.address_of(b"vmalloc")
    assert place is not None
    subprocess.run([sys.executable, RECORD, package.xen_syms, path, f"{place:#x}:64"], check=True)
    cut = Hypervisor.open(path)
    assert list(cut.symbols) == list(whole.symbols)
    for name in ("release", "build_id", "text_start", "text_end", "image_end", "arena_start", "arena_end"):
        assert getattr(cut, name) == getattr(whole, name), name
    assert cut.at_run_time.as_linked(place, 64) == whole.at_run_time.as_linked(place, 64)
    assert cut.at_run_time.as_linked(place + 4096, 64) is None
    assert path.stat().st_size < 200_000
