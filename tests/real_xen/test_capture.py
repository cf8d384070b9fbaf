"""Which pages are captured, which images are booted, and what is captured of the real hypervisor."""

from __future__ import annotations

import gzip
import re
import struct
from typing import TYPE_CHECKING, cast

import pytest

from real_xen.bench import read
from real_xen.capture import MULTIBOOT, boot_image, mapped_runs
from real_xen.core_file import PAGE, Run
from real_xen.machine import Machine
from real_xen.problem import HarnessError
from xsplice_loader import Hypervisor
from xsplice_loader.hypervisor.contents import HypervisorFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from real_xen.bench import Bench

START = 0xFFFF_82D0_4020_0000
ELF32 = b"\x7fELF\x01\x01\x01"


class Pages:
    """A machine of which some pages are mapped."""

    def __init__(self, mapped: set[int]) -> None:
        self._mapped = mapped

    def memory_up_to(self, address: int, size: int) -> bytes:
        contents = b""
        while len(contents) < size and (page := (address - START + len(contents)) // PAGE) in self._mapped:
            contents += bytes([page]) * PAGE
        return contents[:size]


@pytest.mark.parametrize(
    ("mapped", "runs"),
    [
        ({0, 1, 2, 3}, [(0, 4)]),
        ({1, 2}, [(1, 2)]),
        ({0, 2, 3}, [(0, 1), (2, 2)]),
        ({0, 3}, [(0, 1), (3, 1)]),
        ({4}, []),
        (set(), []),
    ],
)
def test_each_run_of_mapped_pages_is_found_whole(mapped: set[int], runs: list[tuple[int, int]]) -> None:
    found = mapped_runs(cast("Machine", Pages(mapped)), START, START + 3 * PAGE + 1)
    assert list(found) == [
        Run(START + first * PAGE, b"".join(bytes([page]) * PAGE for page in range(first, first + count)))
        for first, count in runs
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_boot_image_is_a_multiboot_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    image = ELF32.ljust(4096, b"\0") + MULTIBOOT + bytes(100)
    path = tmp_path / "xen"
    path.write_bytes(pack(image))
    assert boot_image(path) == image


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (b"\x7fELF\x02".ljust(100, b"\0"), "not a Multiboot image"),
        (b"\x7fELF\x02".ljust(100, b"\0") + MULTIBOOT, "not a 32-bit ELF file"),
        (ELF32.ljust(8192, b"\0") + MULTIBOOT, "not a Multiboot image"),
        (b"", "not a Multiboot image"),
        (gzip.compress(ELF32 + MULTIBOOT, mtime=0)[:-9], "cannot read"),
        (gzip.compress(ELF32 + MULTIBOOT, mtime=0)[:10] + b"\xff" * 30, "cannot read"),
    ],
)
def test_what_the_emulator_cannot_boot_is_refused(tmp_path: Path, contents: bytes, why: str) -> None:
    path = tmp_path / "xen"
    path.write_bytes(contents)
    with pytest.raises(HarnessError, match=why):
        boot_image(path)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"cannot read .*/none: No such file or directory"):
        boot_image(tmp_path / "none")


def test_the_real_hypervisor_has_freed_its_init_memory(bench: Bench) -> None:
    mapped = {page for run in bench.memory for page in range(run.address, run.end, PAGE)}
    names = (b"_stext", b"__2M_init_start", b"__2M_init_end", b"__2M_rwdata_start")
    text, init, init_end, data = (bench.hypervisor.symbols.address_of(name) or 0 for name in names)
    assert text in mapped
    assert data in mapped
    assert not mapped & set(range(init, init_end, PAGE))


def test_what_is_captured_of_the_real_hypervisor_has_its_build_id(bench: Bench) -> None:
    place = bench.hypervisor.symbols.address_of(b"__note_gnu_build_id_start") or 0
    note = struct.pack("<III4s", 4, 20, 3, b"GNU\0") + bench.build_id
    assert read(bench.memory, place, 36) == note


def test_a_dump_by_the_emulator_is_accepted_with_virtual_addresses_only(bench: Bench, tmp_path: Path) -> None:
    """What docs/captured-memory.md says of `dump-guest-memory`."""
    start = bench.hypervisor.symbols.address_of(b"_start") or 0
    with_paging, without = tmp_path / "virtual.core", tmp_path / "physical.core"
    with Machine.restored(bench.snapshot, tmp_path) as machine:
        machine.stop()
        (found,) = re.findall(r"gpa: (0x[0-9a-f]+)", machine.monitor(f"gva2gpa {start:#x}"))
        machine.monitor(f"dump-guest-memory -p {with_paging} {found} 0x600000")
        machine.monitor(f"dump-guest-memory {without} {found} 0x600000")
    hypervisor = Hypervisor.open(bench.parts.xen_syms, memory=with_paging)
    genapic = hypervisor.symbols.address_of(b"genapic") or 0
    assert hypervisor.at_run_time.read(genapic, 64) == read(bench.memory, genapic, 64)
    with pytest.raises(HypervisorFileError, match="do its segments have virtual addresses"):
        Hypervisor.open(bench.parts.xen_syms, memory=without)
