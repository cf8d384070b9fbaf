"""Which bytes of a hypervisor are known at run time, from every form of its file."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from xsplice_loader import Hypervisor

if TYPE_CHECKING:
    from known_hypervisors import Package

IMAGES = pytest.mark.parametrize("form", ["xen_syms", "boot_image", "efi"])
NO_IMAGES = pytest.mark.parametrize("form", ["map", "efi_map"])


def opened(package: Package, form: str) -> Hypervisor:
    return Hypervisor.open(getattr(package, form))


def place(xen: Hypervisor, name: bytes) -> int:
    address = xen.symbols.address_of(name)
    assert address is not None
    return address


@IMAGES
@pytest.mark.parametrize("name", [b"xen_minor_version", b"symbols_names", b"xen_major_version"])
def test_text_and_read_only_data_are_known(package: Package, form: str, name: bytes) -> None:
    xen = opened(package, form)
    address = place(xen, name)
    linked = xen.at_run_time.as_linked(address, 5)
    assert linked is not None
    assert xen.at_run_time.read(address, 5) == linked


@IMAGES
@pytest.mark.parametrize(
    ("name", "section"),
    [
        (b"genapic", "in .data.ro_after_init, written during boot"),
        (b"iommu_ops", "in .data.ro_after_init, written during boot"),
        (b"__start___ex_table", "written during boot"),
        (b"system_state", "in .bss, variable"),
        (b"init_IRQ", "in .init.text, freed after boot"),
        (b"__setup_start", "in .init.data, freed after boot"),
    ],
)
def test_what_boot_changes_is_unknown(package: Package, form: str, name: bytes, section: str) -> None:
    xen = opened(package, form)
    address = place(xen, name)
    assert xen.at_run_time.read(address, 8) is None
    assert not xen.at_run_time.read_partly(address, 8).known_start
    assert section in xen.described(address)


@IMAGES
def test_a_call_that_boot_makes_direct_is_unknown(package: Package, form: str) -> None:
    # `ff 15`: an alternative call of Xen's own, in the text as it was linked.
    xen = opened(package, form)
    sites = xen.at_run_time.boot_sites
    assert sites is not None
    calls = [s for s in sites.starts.tolist() if xen.at_run_time.as_linked(s, 2) == b"\xff\x15"]
    assert len(calls) > 100
    for site in calls:
        assert xen.at_run_time.read(site, 6) is None
        assert sum(xen.at_run_time.read_partly(site, 6).unknown) == 6


@NO_IMAGES
def test_a_list_knows_no_byte(package: Package, form: str) -> None:
    xen = opened(package, form)
    for name in (b"xen_minor_version", b"symbols_names", b"genapic"):
        assert xen.at_run_time.read(place(xen, name), 1) is None


def test_debug_information_alone_knows_no_byte(package: Package, tmp_path: object) -> None:
    debug = f"{tmp_path}/xen-syms.debug"
    subprocess.run(["objcopy", "--only-keep-debug", package.xen_syms, debug], check=True)
    xen = Hypervisor.open(debug)
    assert xen.at_run_time.read(place(xen, b"xen_minor_version"), 1) is None


def test_text_is_unknown_where_the_table_of_sites_is_missing(package: Package) -> None:
    xen = opened(package, "xen_syms")
    start, end = place(xen, b"__alt_instructions"), place(xen, b"__alt_instructions_end")
    run_time = xen.at_run_time
    linked = run_time.as_linked

    def without_table(address: int, size: int) -> bytes | None:
        return None if address < end and start < address + size else linked(address, size)

    run_time.as_linked = without_table  # type: ignore[method-assign]
    assert run_time.read(place(xen, b"xen_minor_version"), 1) is None
    assert run_time.read(place(xen, b"symbols_names"), 1) is not None
