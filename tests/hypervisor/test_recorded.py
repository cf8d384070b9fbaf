"""The three hypervisors that were recorded, against what readelf, nm, objdump and Xen itself say of them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from known_hypervisors import KNOWN

from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.releases import NEWEST, UnknownReleaseError

if TYPE_CHECKING:
    from pathlib import Path

    from known_hypervisors import Known


def test_identity(known: Known) -> None:
    hypervisor = Hypervisor.open(known.path)
    assert hypervisor.build_id == bytes.fromhex(known.build_id)
    assert hypervisor.release.name == known.reported
    assert ".".join(map(str, hypervisor.release.version)) == known.version
    assert hypervisor.assumptions == ()
    assert not hypervisor.assumed
    assert not hypervisor.built_in


def test_addresses(known: Known) -> None:
    hypervisor = Hypervisor.open(known.path)
    assert hypervisor.text_start == hypervisor.image_start == 0xFFFF82D040200000
    assert hypervisor.text_end == known.text_end
    assert (hypervisor.arena_start, hypervisor.arena_end) == (known.arena_start, known.arena_end)
    assert hypervisor.text_end < hypervisor.image_end <= hypervisor.arena_start
    arena = hypervisor.areas.named("payload arena")
    assert (arena.start, arena.end) == (known.arena_start, known.arena_end)


def test_symbols(known: Known) -> None:
    symbols = Hypervisor.open(known.path).symbols
    assert len(symbols) == known.symbols
    assert symbols.address_of(b"xen_extra_version") == known.extra_version
    assert b"xen_extra_version" in symbols
    assert symbols.address_of(b"_stext") == 0xFFFF82D040200000
    assert symbols.address_of(b"no_such_symbol") is None
    assert symbols.address_of(b"") is None
    assert symbols.symbol_at(known.extra_version + 5) == (b"xen_extra_version", 5)
    assert symbols.symbol_at(0) is None


def test_only_recorded_bytes_are_known(known: Known) -> None:
    hypervisor = Hypervisor.open(known.path)
    code = bytes.fromhex(known.extra_version_code)
    assert hypervisor.at_run_time.as_linked(known.extra_version, len(code)) == code
    assert hypervisor.at_run_time.as_linked(hypervisor.text_end - 4096, 16) is None
    assert hypervisor.at_run_time.as_linked(hypervisor.image_end, 1) is None
    assert hypervisor.at_run_time.as_linked(0, 16) is None
    assert hypervisor.at_run_time.as_linked(2**64 - 8, 8) is None


def test_content_decides_not_the_name(known: Known, tmp_path: Path) -> None:
    plain = tmp_path / "payload.livepatch"
    plain.write_bytes(gzip.decompress(known.path.read_bytes()))
    assert Hypervisor.open(plain).build_id == bytes.fromhex(known.build_id)


def test_standard_input(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    with known.path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert Hypervisor.open("-").build_id == bytes.fromhex(known.build_id)


def test_model() -> None:
    model = Hypervisor.model()
    assert model.built_in
    assert model.file == "<model>"
    assert model.assumptions == ()
    assert model.build_id is not None
    code = model.at_run_time.as_linked(model.text_start, 16)
    assert code is not None
    assert code != bytes(16)


def test_asked_release_switches_rules_not_addresses(known: Known) -> None:
    hypervisor = Hypervisor.open(known.path, "4.11.0")
    assert hypervisor.release.version == (4, 11, 0)
    assert (hypervisor.arena_start, hypervisor.arena_end) == (known.arena_start, known.arena_end)
    with pytest.raises(UnknownReleaseError):
        Hypervisor.open(known.path, "4.6.0")


def test_assumed_copy(known: Known) -> None:
    hypervisor = Hypervisor.open(known.path)
    assumed = hypervisor.assume()
    assert assumed.assumed
    assert not hypervisor.assumed
    assert assumed.release is NEWEST
    assert Hypervisor.open(known.path, "4.13.0").assume().release.version == (4, 13, 0)


def test_arena_of_the_users_own() -> None:
    hypervisor = Hypervisor.open(KNOWN[1].path)
    moved = hypervisor.with_arena(0xFFFF82C000400000, 0xFFFF82C000800000)
    assert (moved.arena_start, moved.arena_end) == (0xFFFF82C000400000, 0xFFFF82C000800000)
    area = moved.areas.area_of(0xFFFF82C000400000)
    assert area is not None
    assert area.name == "payload arena"
    for start, end in ((0x1000, 0x1000), (0x2000, 0x1000), (0x1001, 0x3000), (0, 2**64 + 4096)):
        with pytest.raises(ValueError, match="payload range"):
            hypervisor.with_arena(start, end)


def test_hints() -> None:
    symbols = Hypervisor.open(KNOWN[1].path).symbols
    assert symbols.names_like(b"apply_payload")[0] == b"common/livepatch.c#apply_payload"
    assert symbols.names_like(b"livepatch.c#apply_payload")[0] == b"common/livepatch.c#apply_payload"
    assert b"xen_extra_version" in symbols.names_like(b"xen_extra_versoin")
    assert len(symbols.names_like(b"init", limit=2)) <= 2
    assert symbols.names_like(b"") == []
