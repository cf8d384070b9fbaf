"""Payloads made for the Xen that Debian ships now, loaded on every file of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xsplice_loader import Host, Hypervisor
from xsplice_loader.forge import forge
from xsplice_loader.livepatch.patching import JUMP_OPCODE

if TYPE_CHECKING:
    from known_hypervisors import Package

    from xsplice_loader import LoadResult

HELLO = (Path(__file__).parents[1] / "payloads" / "hello.s").read_text()


def upload(hypervisor: Hypervisor, source: str, vmap: str = "xen") -> LoadResult:
    assert hypervisor.build_id is not None
    return Host(hypervisor, vmap=vmap).upload("payload", forge(source, xen_build_id=hypervisor.build_id))


def test_the_same_from_the_symbol_file_and_the_boot_image(package: Package) -> None:
    results = [upload(Hypervisor.open(file), HELLO) for file in (package.xen_syms, package.boot_image)]
    for result in results:
        assert result.accepted, result.findings
        assert not result.findings
    one, other = results
    assert one.image == other.image
    assert one.regions == other.regions
    assert one.funcs == other.funcs
    (function,) = one.funcs
    assert function.patched is not None
    # A jump leads from behind itself to the new function.
    start = function.patch_offset
    assert function.patched[start : start + 1] == JUMP_OPCODE
    displacement = int.from_bytes(function.patched[start + 1 : start + 5], "little", signed=True)
    assert function.old_addr + start + 5 + displacement == function.new_addr


def test_the_efi_image_is_another_build(package: Package) -> None:
    xen_syms, efi = Hypervisor.open(package.xen_syms), Hypervisor.open(package.efi)
    assert upload(efi, HELLO).accepted
    assert xen_syms.build_id is not None
    refused = Host(efi).upload("payload", forge(HELLO, xen_build_id=xen_syms.build_id))
    assert (refused.errno_name, refused.stage) == ("EINVAL", "build-id")


def test_local_symbols_go_by_their_file(package: Package) -> None:
    hypervisor = Hypervisor.open(package.boot_image)
    local = next(
        name.decode() for name, _, kind in hypervisor.symbols if kind == "t" and name.startswith(b"common/livepatch.c#")
    )
    source = HELLO.replace('"xen_extra_version"', f'"{local}"')
    assert upload(hypervisor, source).accepted
    plain = upload(hypervisor, HELLO.replace('"xen_extra_version"', f'"{local.partition("#")[2]}"'))
    assert (plain.errno_name, plain.stage) == ("ENOENT", "prepare")
    assert local in (plain.findings[0].hint or "")


def test_too_far_away(package: Package) -> None:
    result = upload(Hypervisor.open(package.boot_image), HELLO, vmap="default")
    assert result.errno_name == "EOVERFLOW"
    assert result.xen_message == "Overflow in relocation 1 in .rela.text for .text"
