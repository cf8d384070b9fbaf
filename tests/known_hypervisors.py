"""Hypervisor files that tests read, and what other programs say of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

DATA = Path(__file__).parent / "data"


class Known(NamedTuple):
    """What other programs say about one Xen: readelf -n, nm, objdump, and the running hypervisor."""

    version: str
    reported: str
    build_id: str
    symbols: int
    text_end: int
    arena_start: int
    arena_end: int
    extra_version: int
    extra_version_code: str

    @property
    def path(self) -> Path:
        return DATA / f"real-xen-{self.version}" / "hypervisor.elf.gz"


KNOWN = (
    Known(
        "4.14.6",
        "4.14.6",
        "1cea1236a7cae92b5aba43b4d031999970dd31da",
        6988,
        0xFFFF82D04036F1BA,
        0xFFFF82D040600000,
        0xFFFF82D07FEFF000,
        0xFFFF82D040230F90,
        "f30f1efa488d05a89e1800c3",
    ),
    Known(
        "4.17.7",
        "4.17.7",
        "151b373fd64b321593bf987fd923cd10dabadac4",
        6883,
        0xFFFF82D040360783,
        0xFFFF82D0405A7000,
        0xFFFF82D07FEFF000,
        0xFFFF82D040234B20,
        "488d0518ba1600e9f4e5fcff",
    ),
    Known(
        "4.20.3",
        "4.20.4-pre",
        "ea92b67a6c7ec0dc9541bc73daef97756b70e672",
        7330,
        0xFFFF82D04036204E,
        0xFFFF82D0405AC000,
        0xFFFF82D07FEFF000,
        0xFFFF82D040244820,
        "488d05b2ac1500e9f4e7fbff",
    ),
)


class Package(NamedTuple):
    """Debian's Xen 4.17, as scripts/fetch-xen unpacks it."""

    tree: Path

    @property
    def xen_syms(self) -> Path:
        return self.tree / "usr/lib/debug/boot/xen-syms-4.17-amd64"

    @property
    def map(self) -> Path:
        return self.tree / "usr/lib/debug/boot/xen-syms-4.17-amd64.map"

    @property
    def efi_map(self) -> Path:
        return self.tree / "usr/lib/debug/boot/xen-4.17-amd64.efi.map"

    @property
    def boot_image(self) -> Path:
        return self.tree / "boot/xen-4.17-amd64.gz"

    @property
    def efi(self) -> Path:
        return self.tree / "boot/xen-4.17-amd64.efi"


def missing(reason: str) -> NoReturn:
    """Skip a test; on the build server, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
