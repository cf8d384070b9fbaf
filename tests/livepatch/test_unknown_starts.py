"""Functions whose old bytes are unknown, as with a symbol list: what is foretold of them, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypervisor.cores import core
from hypervisor.sites import changed_bytes

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge

if TYPE_CHECKING:
    from pathlib import Path

    from known_hypervisors import Package


def replacing(function: str, size: int, xen: Hypervisor, *, build_id: str = "a1", version: int = 2) -> bytes:
    return forge(
        f"""
        .text
        .balign 16
        .type new_{build_id}, @function
new_{build_id}:
        ret
        .size new_{build_id}, . - new_{build_id}
        .livepatch_func "{function}", new_{build_id}, {size}, 0, 1, {version}
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id {build_id}
        """,
        xen_build_id=xen.build_id,
    )


def host_on_a_list(package: Package, release: str, size: int) -> Host:
    xen = Hypervisor.open(package.map)
    host = Host(xen, release=release)
    version = host.state.release.function_version
    result = host.upload("a", replacing("xen_minor_version", size, xen, version=version))
    assert result.verdict == "accepted", result.findings
    return host


@pytest.mark.parametrize("size", [5, 8, 9, 40])
def test_where_the_jump_goes_is_unknown(package: Package, size: int) -> None:
    host = host_on_a_list(package, "4.17.7", size)
    result = host.upload("b", replacing("xen_minor_version", size, host.hypervisor, build_id="b2"))
    assert ("XSP199" in [finding.rule for finding in result.findings]) is (size < 9)
    (function,) = result.funcs
    assert (function.before, function.patched) == (None, None)
    address = function.old_addr
    assert host.apply("a").succeeded
    # 5 bytes at the start, or 4 further on if the function starts with ENDBR64.
    assert host.state.memory.read_available(address, 16) == b""
    assert host.revert("a").succeeded
    assert host.state.memory.read_available(address, 16) == b""


def test_a_release_without_endbr64_patches_the_start(package: Package) -> None:
    host = host_on_a_list(package, "4.13.0", 5)
    (entry,) = host.payloads[0].entries
    assert host.apply("a").succeeded
    jump = entry.new_addr - entry.old_addr - 5
    assert host.state.memory.read_available(entry.old_addr, 16) == b"\xe9" + jump.to_bytes(4, "little", signed=True)
    assert host.revert("a").succeeded
    assert host.state.memory.read_available(entry.old_addr, 16) == b""
    # What was saved is unknown, and was saved in the payload itself.
    table = host.payloads[0].table.address
    assert bytes(host.state.memory.read_partly(table + 33, 6).unknown) == b"\1" * 5 + b"\0"


def test_the_bytes_of_a_site_are_unknown_in_between(package: Package) -> None:
    xen = Hypervisor.open(package.xen_syms)
    sites = xen.at_run_time.boot_sites
    assert sites is not None
    name, address, altered = next(
        (name, address, altered)
        for name, address, kind in xen.symbols
        if kind == "T"
        and xen.symbols.address_of(name) == address
        and xen.text_start <= address < xen.text_end - 64
        and (altered := changed_bytes(sites, address, 32))
        and min(altered) >= address + 9
    )
    result = Host(xen).upload("a", replacing(name.decode(), 64, xen))
    (function,) = result.funcs
    linked = xen.at_run_time.as_linked(address, 32)
    assert linked is not None
    assert function.before == linked[: min(altered) - address]
    assert function.patched is not None
    assert len(function.patched) == min(altered) - address


def test_bytes_that_a_jump_may_have_changed_are_unknown(package: Package, tmp_path: Path) -> None:
    # A symbol list, and captured memory that lacks the function's first 4 bytes only.
    xen = Hypervisor.open(package.xen_syms)
    address = xen.symbols.address_of(b"xen_minor_version")
    assert address is not None
    rest = xen.at_run_time.as_linked(address + 4, 12)
    assert rest is not None
    file = tmp_path / "memory.core"
    file.write_bytes(core({address + 4: rest}, xen.build_id))
    listed = Hypervisor.open(package.map, "4.17.7", memory=file)
    host = Host(listed)
    assert host.upload("a", replacing("xen_minor_version", 16, xen)).accepted
    before = "??" * 4 + rest.hex()
    for _ in range(2):
        assert host.state.memory.read_partly(address, 16).shown == before
        assert host.apply("a").succeeded
        assert host.state.memory.read_partly(address, 16).shown == "??" * 9 + rest[5:].hex()
        assert host.revert("a").succeeded
    assert host.state.memory.read_partly(address, 16).shown == before


def test_hex_names_each_unknown_byte(package: Package) -> None:
    xen = Hypervisor.open(package.xen_syms)
    sites = xen.at_run_time.boot_sites
    address = xen.symbols.address_of(b"common_interrupt")
    assert sites is not None
    assert address is not None
    altered = changed_bytes(sites, address, 32)
    assert altered
    host = Host(xen)
    (function,) = host.upload("a", replacing("common_interrupt", 16, xen)).funcs
    linked = xen.at_run_time.as_linked(address, 32)
    assert linked is not None
    shown = ["??" if address + at in altered else f"{byte:02x}" for at, byte in enumerate(linked)]
    assert function.before_hex == "".join(shown)
    assert function.patched_hex is not None
    assert function.patched_hex[:2] == "e9"
    assert function.patched_hex[10:] == "".join(shown[5:])
