"""Places that Xen alters when it boots, as the table in Debian's Xen 4.17 names them, and expectations of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hypervisor.cores import core
from hypervisor.sites import changed_bytes

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.hypervisor.boot_sites import boot_sites
from xsplice_loader.releases import ENDBR64, ENDBR64_POISON
from xsplice_loader.releases import release as release_named

if TYPE_CHECKING:
    from pathlib import Path

    from known_hypervisors import Package

    from xsplice_loader.hypervisor.boot_sites import BootSites

ENTRY = struct.Struct("<iiHBBBB")


def sites_of(hypervisor: Hypervisor) -> BootSites:
    found = hypervisor.at_run_time.boot_sites
    assert found is not None
    return found


def sites(hypervisor: Hypervisor) -> dict[int, int]:
    """Return the end of every site by its start, read entry by entry."""
    start, end = (
        hypervisor.symbols.address_of(name) or 0 for name in (b"__alt_instructions", b"__alt_instructions_end")
    )
    table = hypervisor.at_run_time.as_linked(start, end - start) or b""
    found: dict[int, int] = {}
    for index, (way, _, _, length, _, padding, _) in enumerate(ENTRY.iter_unpack(table)):
        site = start + index * ENTRY.size + way
        found[site] = max(site + length + padding, found.get(site, 0))
    return found


def test_every_entry_of_the_table_is_a_site(package: Package) -> None:
    hypervisor = Hypervisor.open(package.xen_syms)
    expected = sites(hypervisor)
    assert len(expected) > 3000
    known = sites_of(hypervisor)
    assert set(known.starts.tolist()) == expected.keys()
    changed = {p for s, e in zip(known.starts.tolist(), known.ends.tolist(), strict=True) for p in range(s, e)}
    assert changed == {place for start, end in expected.items() for place in range(start, end)}


def test_a_list_of_symbols_has_no_table(package: Package) -> None:
    hypervisor = Hypervisor.open(package.map)
    assert hypervisor.at_run_time.boot_sites is None
    assert hypervisor.at_run_time.read(hypervisor.text_start, 1) is None


def test_nothing_boots_the_model() -> None:
    model = Hypervisor.model()
    assert model.at_run_time.constant_ranges == ((model.image_start, model.image_end),)


def test_an_expectation_of_altered_bytes_is_not_compared(package: Package) -> None:
    hypervisor = Hypervisor.open(package.xen_syms)
    # A function with a site among its first 31 bytes, and some bytes before it.
    known = sites_of(hypervisor)
    name, address, altered = next(
        (name, address, altered)
        for name, address in ((name, address) for name, address, kind in hypervisor.symbols if kind in "tT")
        if b"#" not in name
        and hypervisor.symbols.address_of(name) == address
        and hypervisor.text_start <= address < hypervisor.text_end - 64
        and (altered := changed_bytes(known, address, 31))
        and min(altered) > address
    )
    contents = bytearray(hypervisor.at_run_time.as_linked(address, 31) or b"")
    contents[min(altered) - address] ^= 0xFF
    assert _applied(hypervisor, name, bytes(contents)) == [("XSP247", "warning")]
    contents[0] ^= 0xFF
    assert _applied(hypervisor, name, bytes(contents)) == [("XSP216", "error")]


def _applied(hypervisor: Hypervisor, name: bytes, expected: bytes) -> list[tuple[str, str]]:
    source = f"""
        .text
.Lnew:  ret
        .livepatch_func "{name.decode()}", .Lnew, 64, 0, 1
        .livepatch_expect {expected.hex()}
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
    """
    host = Host(hypervisor)
    host.upload("a", forge(source, xen_build_id=hypervisor.build_id)).raise_for_verdict()
    return [(finding.rule, finding.severity) for finding in host.apply("a").findings]


def test_an_expectation_of_an_endbr64_that_boot_may_take(package: Package, tmp_path: Path) -> None:
    # .init.data.cf_clobber names nsvm_vcpu_initialise; on processors with CET-IBT boot changes its start.
    xen = Hypervisor.open(package.xen_syms)
    name = b"nsvm_vcpu_initialise"
    address = xen.symbols.address_of(name)
    assert address is not None
    start = xen.at_run_time.read(address, 6)
    assert start is not None
    assert start.startswith(ENDBR64)
    assert _applied(xen, name, start) == [("XSP247", "warning")]
    for captured, expected in ((ENDBR64, []), (ENDBR64_POISON, [("XSP216", "error")])):
        file = tmp_path / "memory.core"
        file.write_bytes(core({address: captured}, xen.build_id))
        assert _applied(Hypervisor.open(package.xen_syms, memory=file), name, start) == expected


def test_calls_of_their_own_table_are_sites_too() -> None:
    """From 4.21.0 on boot makes indirect calls direct: a signed distance of 32 bits from each entry leads to one."""
    start = 0xFFFF82D040200000
    alternatives, calls = start + 0x1000, start + 0x2000
    tables = {
        alternatives: ENTRY.pack(0x100 - 0x1000, 0, 0, 3, 0, 2, 0),
        calls: struct.pack("<ii", 0x300 - 0x2000, 0x200 - 0x2004),
    }
    symbols = {
        b"__alt_instructions": alternatives,
        b"__alt_instructions_end": alternatives + ENTRY.size,
        b"__alt_call_sites_start": calls,
        b"__alt_call_sites_end": calls + 8,
    }
    rows = {}
    for release in ("4.20.3", "4.21.0"):
        found = boot_sites(lambda address, _size: tables.get(address), symbols.get, release_named(release))
        assert found is not None
        rows[release] = list(zip((found.starts - start).tolist(), (found.ends - start).tolist(), strict=True))
    assert rows == {"4.20.3": [(0x100, 0x105)], "4.21.0": [(0x100, 0x105), (0x200, 0x206), (0x300, 0x306)]}
    without = {name: address for name, address in symbols.items() if b"call" not in name}
    assert boot_sites(lambda address, _size: tables.get(address), without.get, release_named("4.21.0")) is None
